"""What a client of the application gets when there is no token."""

from __future__ import annotations

import json

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import WebSocketDenialResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from taxizer_async import AuthError, ConfigurationError, Credentials, TaxizerClient, TokenStoreError
from taxizer_async.fastapi import Taxizer, add_exception_handlers, get_taxizer, taxizer_lifespan
from taxizer_async.testing import Fault, Sandbox
from tests.integrations.fastapi.conftest import PATH, MakeClient


@attrs.frozen
class WithoutDenial:
    """A server that can't answer a WebSocket that it refuses."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.pop("extensions", None)
        await self.app(scope, receive, send)


JUNK = b"<html>canary-of-the-answer</html>"
OUTAGE = Fault.status(503, headers={"Retry-After": "40"})
#: The fault at Connect, the status of the answer, and whether it has `Retry-After`.
CASES = [
    pytest.param(OUTAGE, 503, True, id="outage"),
    pytest.param(Fault.reset(), 503, True, id="network"),
    pytest.param(Fault.status(429, headers={"Retry-After": "40"}), 503, True, id="too many"),
    pytest.param(Fault.truncate(), 503, True, id="cut off"),
    pytest.param(Fault.status(400, body="canary-of-the-answer"), 502, False, id="rejected"),
    pytest.param(Fault.junk(JUNK, status=404), 503, True, id="somebody else"),
]


@pytest.mark.parametrize(("fault", "status", "hint"), CASES)
def test_an_auth_error_is_answered(
    app: FastAPI, sandbox: Sandbox, fault: Fault, *, status: int, hint: bool
) -> None:
    """The answer is 503 with `Retry-After`, or 502, and quotes nothing."""
    sandbox.fail("connect", fault)
    with TestClient(app) as tester:
        answer = tester.post("/invoices")

    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in answer.headers) is hint
    assert set(answer.json()) == {"type", "title", "status", "detail"}
    told = answer.text + str(answer.headers)
    for word in ("canary", sandbox.client_id, sandbox.base_url, "Connect", "sandbox-secret"):
        assert word not in told


def test_retry_after_is_the_time_of_the_next_try(app: FastAPI, sandbox: Sandbox) -> None:
    """`Retry-After` follows the server's own, in whole seconds, rounded up."""
    sandbox.fail("connect", OUTAGE)
    with TestClient(app) as tester:
        seconds = [int(tester.post("/invoices").headers["Retry-After"]) for _ in range(2)]

    assert 25 < min(seconds) <= max(seconds) <= 40
    assert sandbox.counters.connects == 1


def test_a_vault_that_is_down_is_a_503(sandbox: Sandbox) -> None:
    """A failing credentials callable is answered with 503."""

    def ask_vault() -> Credentials:
        raise OSError("canary")

    app = FastAPI(
        lifespan=taxizer_lifespan(lambda: TaxizerClient(ask_vault, base_url=sandbox.base_url))
    )
    add_exception_handlers(app)

    @app.get("/")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post(PATH)).status_code

    with TestClient(app) as tester:
        answer = tester.get("/")

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), ConfigurationError("mine"), TokenStoreError("mine")],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_left_alone(app: FastAPI, error: Exception) -> None:
    """Other errors, also of a wrong set-up, stay a plain 500."""

    @app.get("/broken")
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught, TestClient(app) as tester:
        tester.get("/broken")
    assert caught.value is error

    with TestClient(app, raise_server_exceptions=False) as tester:
        answer = tester.get("/broken")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


@pytest.mark.parametrize("seconds", [90.5, 0.2, -5.0])
def test_retry_after_is_rounded_up(app: FastAPI, seconds: float) -> None:
    """`Retry-After` is never too early, and at least one second."""
    retry_at = datetime.now(UTC) + timedelta(seconds=seconds)

    @app.get("/raised")
    async def fail() -> None:
        raise AuthError("canary", retry_at=retry_at)

    with TestClient(app) as tester:
        before = datetime.now(UTC)
        told = int(tester.get("/raised").headers["Retry-After"])
        after = datetime.now(UTC)

    assert told >= max(1.0, (retry_at - after).total_seconds())
    assert told <= max(1.0, (retry_at - before).total_seconds() + 1)


def test_an_error_without_a_time_has_no_retry_after(app: FastAPI) -> None:
    """Without the time of the next try there is no `Retry-After`."""

    @app.get("/raised")
    async def fail() -> None:
        raise AuthError("canary")

    with TestClient(app) as tester:
        answer = tester.get("/raised")

    assert answer.status_code == 503
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "status"), [(OUTAGE, 503), (Fault.status(400), 502)], ids=["outage", "rejected"]
)
def test_a_websocket_is_refused_with_the_same_answer(
    app: FastAPI, sandbox: Sandbox, fault: Fault, status: int
) -> None:
    """A WebSocket that is not accepted yet is still an HTTP request."""
    sandbox.fail("connect", fault)
    with (
        TestClient(app) as tester,
        pytest.raises(WebSocketDenialResponse) as caught,
        tester.websocket_connect("/early"),
    ):
        pytest.fail("it was accepted")

    assert caught.value.status_code == status
    assert json.loads(caught.value.content)["status"] == status


@pytest.mark.parametrize(
    ("fault", "code"), [(OUTAGE, 1013), (Fault.status(400), 1014)], ids=["outage", "rejected"]
)
@pytest.mark.parametrize("when", ["open", "early"])
def test_a_websocket_is_closed_with_a_code(
    app: FastAPI, sandbox: Sandbox, fault: Fault, code: int, when: str
) -> None:
    """An open WebSocket, or one of a server without denial responses, is closed with a code."""
    sandbox.fail("connect", fault)
    if when == "early":
        app.add_middleware(WithoutDenial)
    path = "/late" if when == "open" else "/early"
    with (
        TestClient(app) as tester,
        pytest.raises(WebSocketDisconnect) as caught,
        tester.websocket_connect(path) as socket,
    ):
        socket.receive_json()

    assert caught.value.code == code


def test_a_websocket_that_was_closed_is_left_closed(app: FastAPI) -> None:
    """An error after the end changes nothing."""

    async def close_and_fail(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000)
        raise AuthError("late")

    app.add_api_websocket_route("/closed", close_and_fail)
    with (
        TestClient(app) as tester,
        pytest.raises(WebSocketDisconnect) as caught,
        tester.websocket_connect("/closed") as socket,
    ):
        socket.receive_json()

    assert caught.value.code == 4000


@pytest.mark.parametrize("path", ["/early", "/late", "/read"])
async def test_it_is_no_error_if_the_client_of_a_websocket_has_left(
    app: FastAPI, sandbox: Sandbox, path: str
) -> None:
    """There is nobody to tell, whether the endpoint has seen that or not."""

    async def read_and_submit(websocket: WebSocket, taxizer: Taxizer) -> None:
        await websocket.accept()
        await websocket.receive()
        await taxizer.post(PATH, json={})

    received: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1006},
    ]

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            # As uvicorn does.
            raise OSError("the client has left") if received else RuntimeError("it is closed")

    app.add_api_websocket_route("/read", read_and_submit)
    extensions: Scope = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": []}
    sandbox.fail("connect", OUTAGE)
    async with app.router.lifespan_context(app):
        await app({**scope, "extensions": extensions}, receive, send)

    assert sandbox.counters.connects == 1


def test_a_mounted_application_needs_its_own_handlers(app: FastAPI, sandbox: Sandbox) -> None:
    """A mounted application answers its errors itself."""
    sandbox.fail("connect", Fault.status(400))
    inner = FastAPI()

    @inner.post("/invoices")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post(PATH, json={})).status_code

    app.mount("/inner", inner)
    with TestClient(app, raise_server_exceptions=False) as tester:
        assert tester.post("/inner/invoices").status_code == 500
    add_exception_handlers(inner)
    inner.middleware_stack = None
    with TestClient(app) as tester:
        assert tester.post("/inner/invoices").status_code == 502


def test_starlette_alone_answers_the_same(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The handlers need no FastAPI."""
    sandbox.fail("connect", OUTAGE)

    async def submit(request: Request) -> Response:
        await get_taxizer(request).post(PATH)
        raise AssertionError

    app = Starlette(routes=[Route("/", submit)], lifespan=taxizer_lifespan(make_client))
    add_exception_handlers(app)
    with TestClient(app) as tester:
        answer = tester.get("/")

    assert (answer.status_code, answer.json()["status"]) == (503, 503)
