"""The dependency: the same client everywhere, and a clear error where there is none."""

from __future__ import annotations

import contextlib

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Literal

import anyio
import pytest

from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from taxizer_async import ConfigurationError, MemoryTokenStore, TaxizerClient
from taxizer_async.fastapi import (
    Taxizer,
    get_taxizer,
    health_router,
    named_taxizer,
    taxizer_lifespan,
)
from taxizer_async.testing import Sandbox
from tests.integrations.fastapi.conftest import PATH, MakeClient, asking
from tests.support.limits import HANG


async def burst(app: FastAPI, state: Mapping[str, object] | None = None) -> list[int]:
    """Return the answers to fifty requests at once."""
    answers: list[int] = []

    async with asking(app, state) as asker:

        async def send() -> None:
            answers.append((await asker.post("/invoices")).json())

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(send)

    return answers


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_requests_share_one_login(
    app: FastAPI, sandbox: Sandbox, backend: Literal["asyncio", "trio"]
) -> None:
    """Requests in a row have the same client, on either event loop."""
    with TestClient(app, backend=backend) as tester:
        answers = [tester.post("/invoices").json() for _ in range(3)]

    assert answers == [200] * 3
    assert sandbox.counters.connects == 1


@pytest.mark.report(14)
async def test_requests_at_once_share_one_login(app: FastAPI, sandbox: Sandbox) -> None:
    """Fifty cold requests to an endpoint with the dependency cause one Connect."""
    sandbox.connect_latency = 0.1
    async with app.router.lifespan_context(app) as state:
        answers = await burst(app, state)

    assert answers == [200] * 50
    assert sandbox.counters.connects == 1


@pytest.mark.report(141)
async def test_a_lifespan_that_was_run_by_hand_counts(app: FastAPI) -> None:
    """Tests over ASGITransport, which pass no state of the lifespan, get the client while it is open."""
    async with app.router.lifespan_context(app), asking(app) as asker:
        assert (await asker.post("/invoices")).json() == 200
        assert (await asker.get("/health/ready")).json()["usable"]
    async with asking(app) as asker:
        with pytest.raises(RuntimeError, match="no taxizer_lifespan"):
            await asker.post("/invoices")


async def test_a_start_that_has_no_client_yet_does_not_count(make_client: MakeClient) -> None:
    """A request that comes while the client is being opened is told that there is none."""
    answers: list[str] = []

    @contextlib.asynccontextmanager
    async def ask_first() -> AsyncGenerator[TaxizerClient]:
        async with asking(app) as asker:
            with pytest.raises(RuntimeError, match="there is no TaxizerClient"):
                await asker.get("/health/ready")
            answers.append("no client")
        async with make_client() as client:
            yield client

    app = FastAPI(lifespan=taxizer_lifespan(ask_first, keep_fresh=False))
    app.include_router(health_router())
    async with app.router.lifespan_context(app):
        assert answers == ["no client"]


async def test_an_end_leaves_the_client_of_another_start(app: FastAPI) -> None:
    """Of two starts at a time the one that goes on keeps its open client."""
    start = app.router.lifespan_context
    async with start(app), asking(app) as asker:
        first = app.state.taxizer
        async with start(app):
            assert app.state.taxizer is not first
        assert app.state.taxizer is first
        assert (await asker.post("/invoices")).json() == 200


async def test_an_end_while_another_start_is_under_way_leaves_the_open_client(
    make_client: MakeClient,
) -> None:
    """What has not opened its client yet takes none away."""
    opening, go_on = anyio.Event(), anyio.Event()
    made = 0

    @contextlib.asynccontextmanager
    async def make_slowly() -> AsyncGenerator[TaxizerClient]:
        nonlocal made
        made += 1
        if made == 3:
            opening.set()
            await go_on.wait()
        async with make_client() as client:
            yield client

    app = FastAPI(lifespan=taxizer_lifespan(make_slowly, keep_fresh=False))
    start = app.router.lifespan_context

    async def start_late() -> None:
        async with start(app):
            pass

    async with start(app):
        first = app.state.taxizer
        with anyio.fail_after(HANG):
            async with anyio.create_task_group() as tasks:
                async with start(app):
                    tasks.start_soon(start_late)
                    await opening.wait()
                assert app.state.taxizer is first
                go_on.set()


@pytest.mark.report(142)
async def test_an_application_may_have_several_accounts(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Each name has a client of its own, also beside one without a name, and may be overridden."""
    north = taxizer_lifespan(make_client, name="north")
    app = FastAPI(lifespan=taxizer_lifespan(make_client, lifespan=north))

    @app.post("/who")
    async def submit(
        taxizer: Taxizer, own: Annotated[TaxizerClient, Depends(named_taxizer("north"))]
    ) -> list[int]:
        assert own is not taxizer
        return [(await each.post(PATH, json={})).status_code for each in (taxizer, own)]

    async with app.router.lifespan_context(app) as state, asking(app, state) as asker:
        assert (await asker.post("/who")).json() == [200, 200]
        assert app.state.taxizer_north is dict(state or {})["taxizer_north"]
        async with make_client() as other:
            app.dependency_overrides[named_taxizer("north")] = lambda: other
            assert (await asker.post("/who")).json() == [200, 200]

    assert sandbox.counters.connects == 3
    async with asking(app) as asker:
        app.dependency_overrides = {get_taxizer: lambda: other}
        with pytest.raises(RuntimeError, match=r"named_taxizer\('north'\)"):
            await asker.post("/who")


@pytest.mark.report(142)
@pytest.mark.parametrize("name", [None, "north"])
async def test_the_same_name_twice_is_refused_at_the_start(
    make_client: MakeClient, name: str | None
) -> None:
    """An application with two lifespans of one name does not start; nor if a router brings the second."""
    router = APIRouter(lifespan=taxizer_lifespan(make_client, name=name))
    within = FastAPI(
        lifespan=taxizer_lifespan(
            make_client, name=name, lifespan=taxizer_lifespan(make_client, name=name)
        )
    )
    beside = FastAPI(lifespan=taxizer_lifespan(make_client, name=name))
    beside.include_router(router)
    for app in (within, beside):
        with pytest.raises(ConfigurationError, match="two taxizer_lifespans of one application"):
            async with app.router.lifespan_context(app):
                pytest.fail("it has started")


@pytest.mark.report(14)
async def test_clients_made_per_request_share_the_login_of_their_store(
    app: FastAPI, sandbox: Sandbox
) -> None:
    """Fifty requests, each with a client of a dependency override, cause one Connect."""
    sandbox.connect_latency = 0.1
    store = MemoryTokenStore()

    async def build() -> AsyncGenerator[TaxizerClient]:
        async with TaxizerClient(
            sandbox.credentials, base_url=sandbox.base_url, store=store
        ) as client:
            yield client

    app.dependency_overrides[get_taxizer] = build
    answers = await burst(app)

    assert answers == [200] * 50
    assert sandbox.counters.connects == 1


def test_a_websocket_has_it(app: FastAPI) -> None:
    """A WebSocket gets the client, too."""
    with TestClient(app) as tester, tester.websocket_connect("/late") as socket:
        assert socket.receive_json() == 200


def test_mounted_applications_have_it(app: FastAPI, sandbox: Sandbox) -> None:
    """A mounted FastAPI and a mounted Starlette have the same client, though their lifespans do not run."""
    inner = FastAPI()

    @inner.post("/invoices")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post(PATH, json={})).status_code

    app.mount("/fastapi", inner)
    app.mount("/starlette", Starlette(routes=[Route("/invoices", submit_plain, methods=["POST"])]))
    with TestClient(app) as tester:
        answers = [
            tester.post(f"{where}/invoices").json() for where in ("", "/fastapi", "/starlette")
        ]

    assert answers == [200] * 3
    assert sandbox.counters.connects == 1


def test_starlette_alone_has_it(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Starlette without FastAPI has it, below a mount, too."""
    route = Route("/invoices", submit_plain, methods=["POST"])
    app = Starlette(
        routes=[route, Mount("/below", routes=[route])], lifespan=taxizer_lifespan(make_client)
    )
    with TestClient(app) as tester:
        answers = [tester.post(path).json() for path in ("/invoices", "/below/invoices")]

    assert answers == [200, 200]
    assert sandbox.counters.connects == 1


def test_an_override_takes_its_place(
    app: FastAPI, make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A test may override the client, whether or not the lifespan runs; the probes use it, too."""
    other = make_client()
    app.dependency_overrides[get_taxizer] = lambda: other
    tester = TestClient(app)
    assert tester.post("/invoices").json() == 200
    with tester:
        assert tester.get("/health/ready").json()["logins"] == 1

    assert sandbox.counters.connects == 1


def test_a_test_client_that_was_not_entered_fails(app: FastAPI) -> None:
    """The error says what to do, in an endpoint, a WebSocket and a probe."""
    tester = TestClient(app)
    with pytest.raises(RuntimeError, match=r"with TestClient\(app\) as client"):
        tester.post("/invoices")
    with (
        pytest.raises(RuntimeError, match="lifespan=taxizer_lifespan"),
        tester.websocket_connect("/late"),
    ):
        pytest.fail("it was accepted")
    with pytest.raises(RuntimeError, match="get_taxizer"):
        tester.get("/health/ready")


async def submit_plain(request: Request) -> JSONResponse:
    """Do what the endpoint of FastAPI does."""
    response = await get_taxizer(request).post(PATH, json={})
    return JSONResponse(response.status_code)
