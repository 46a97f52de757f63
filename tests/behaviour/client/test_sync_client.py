"""`SyncTaxizerClient` is to the library's Client what `TaxizerClient` is to its AsyncClient."""

from __future__ import annotations

import contextlib
import socketserver
import threading

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taxizer_async import ConfigurationError, Credentials, TokenState
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, arrived
from tests.support.limits import HANG

from .libraries import Library


PAIR = Credentials("id", "secret")


class OwnError(Exception):
    """An error of the user's own library."""


def raise_for_status(response: Any) -> None:
    response.raise_for_status()


def raise_own(response: Any) -> None:
    try:
        response.raise_for_status()
    except Exception as error:
        raise OwnError from error


def read_and_raise(response: Any) -> None:
    response.read()
    response.raise_for_status()


HOOKS = pytest.mark.parametrize("hook", [raise_for_status, raise_own, read_and_raise])


def test_a_sync_client_is_logged_in_and_pointed_at_the_api(
    library: Library, sandbox: Sandbox
) -> None:
    """Requests name paths below base_url and carry the token; a login is made for the first."""
    with library.sync_taxizer_client(sandbox, headers={"X-Mine": "1"}) as client:
        answers = [client.post(PATH, json={}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].request.headers["x-mine"] == "1"
    assert sandbox.counters.exchanges == 1
    assert client.auth.status().state is TokenState.FRESH


@pytest.mark.usefixtures("environment")
def test_a_sync_client_of_the_environment(library: Library, sandbox: Sandbox) -> None:
    """`from_env` takes the options of the constructor."""
    with library.adapter.SyncTaxizerClient.from_env(follow_redirects=True) as client:
        assert client.get(PATH).status_code == 200
        assert client.follow_redirects
    assert sandbox.counters.connects == 1


def test_wrong_arguments_are_named_after_the_sync_client(library: Library) -> None:
    """Errors name the two classes that the user has to do with; a login still needs an async client."""
    name = library.module.__name__
    with pytest.raises(ConfigurationError, match=rf"a SyncTaxizerClient .* {name}\.Client to"):
        library.adapter.SyncTaxizerClient(PAIR, auth=None)
    with pytest.raises(ConfigurationError, match=rf"client.s transport=.*{name}\.AsyncClient"):
        library.adapter.SyncTaxizerClient(PAIR, transport=library.module.HTTPTransport())
    with (
        library.adapter.SyncTaxizerClient(PAIR) as client,
        pytest.raises(ConfigurationError, match=rf"SyncTaxizerClient .* {name}\.Client"),
    ):
        client.auth = ("user", "password")


@pytest.mark.invariant(16)
@HOOKS
def test_hooks_that_raise_on_a_401_fail_no_request(
    library: Library, sandbox: Sandbox, hook: Callable[[Any], None]
) -> None:
    """What a hook raises on a 401 is held back, as the request is sent again."""
    with library.sync_taxizer_client(sandbox, event_hooks={"response": [hook]}) as client:
        client.get(PATH)
        sandbox.revoke()
        assert client.get(PATH).status_code == 200
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(16)
def test_what_a_hook_raised_is_raised_when_the_401_is_handed_back(
    library: Library, sandbox: Sandbox
) -> None:
    """With a 401 that no token cures the hook's own exception comes out, as on other failures."""
    with library.sync_taxizer_client(sandbox, event_hooks={"response": [raise_own]}) as client:
        client.get(PATH)
        for fault in (Fault.unauthorized('Bearer error="insufficient_scope"'), Fault.status(500)):
            sandbox.fail("resource", fault, times=1)
            with pytest.raises(OwnError):
                client.get(PATH)
        assert client.get(PATH).status_code == 200
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(16)
@HOOKS
def test_a_plain_sync_client_fails_the_one_in_flight_alone(
    library: Library, sandbox: Sandbox, hook: Callable[[Any], None]
) -> None:
    """A hook of a plain client hides the 401, but what it raised tells of it: the next request succeeds."""
    auth = library.auth(sandbox)
    with library.plain_sync_client(auth, event_hooks={"response": [hook]}) as client:
        client.get(PATH)
        sandbox.revoke()
        with pytest.raises((OwnError, library.module.HTTPStatusError)):
            client.get(PATH)
        assert client.get(PATH).status_code == 200
    assert sandbox.counters.exchanges == 2


#: What is wrong with the body of a 401.
BODIES = {
    "endless": b"Transfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n",
    "cut off": b"Content-Length: 100\r\n\r\nwrong",
    "mis-encoded": b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nwrong",
    "no length": b"\r\nwrong",
}


@contextlib.contextmanager
def refusing(body: bytes) -> Iterator[str]:
    """Yield the URL of a server whose first answer is a 401 with *body*, left open until the end."""
    first, done = threading.Event(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            if first.is_set():
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                return
            first.set()
            self.request.sendall(b"HTTP/1.1 401 Unauthorized\r\n" + body)
            done.wait(HANG)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        done.set()
        server.shutdown()


@pytest.mark.invariant(15)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_body_of_a_401_is_closed_unread(
    library: Library, sandbox: Sandbox, body: bytes
) -> None:
    """Whatever it is, and though the client has no time-out, the renewal and the resend follow at once."""
    with refusing(body) as url:
        auth = library.auth(sandbox, extra_origins=[url])
        with library.plain_sync_client(auth, timeout=None) as client:
            client.get(PATH)
            assert client.get(f"{url}/v1/x").status_code == 200
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(15)
def test_a_401_that_is_handed_back_has_its_body(library: Library, sandbox: Sandbox) -> None:
    """What is not renewed is not closed, be it read at once or streamed."""
    challenge = 'Bearer error="insufficient_scope"'
    with library.sync_taxizer_client(sandbox) as client:
        client.get(PATH)
        sandbox.fail("resource", Fault.unauthorized(challenge))
        assert client.get(PATH).json()["title"] == "Unauthorized"
        with client.stream("GET", PATH) as response:
            assert response.status_code == 401
            assert b"Unauthorized" in response.read()


@pytest.mark.invariant(16)
def test_a_redirected_request_is_sent_again_where_it_was_refused(
    library: Library, sandbox: Sandbox
) -> None:
    """After a redirect the hop that was refused is sent again, and the history is whole."""
    sandbox.fail("/v1/old", Fault.status(307, headers={"Location": "/v1/new"}))
    with library.sync_taxizer_client(sandbox, follow_redirects=True) as client:
        client.get("/v1/x")
        sandbox.reset_counters()
        sandbox.fail("/v1/new", Fault.unauthorized(), times=1)
        response = client.post("/v1/old", content=b"invoice")

    assert response.status_code == 200
    assert [each.status_code for each in response.history] == [307, 401]
    assert arrived(sandbox) == [(307, b"invoice"), (401, b"invoice"), (200, b"invoice")]


@pytest.mark.invariant(18)
def test_the_token_stays_with_its_origins(library: Library, sandbox: Sandbox) -> None:
    """Another server gets no token, and a request that carried ours is sent to it without."""
    with (
        refusing(b"Content-Length: 0\r\n\r\n") as url,
        library.sync_taxizer_client(sandbox) as client,
    ):
        mine = client.build_request("GET", PATH)
        assert client.send(mine).status_code == 200
        mine.url = library.module.URL(f"{url}/v1/x")
        answer = client.send(mine)

    assert answer.status_code == 401
    assert "Authorization" not in answer.request.headers
    assert sandbox.counters.exchanges == 1


def test_one_request_object_is_sent_many_times(library: Library, sandbox: Sandbox) -> None:
    """With another token a copy is sent, as the request that was sent with the old one may be under way."""
    with library.sync_taxizer_client(sandbox) as client:
        request = client.build_request("GET", PATH)
        answers = [client.send(request), client.send(request)]
        sandbox.revoke()
        assert client.get(PATH).status_code == 200
        answers.append(client.send(request))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    headers = [answer.request.headers["Authorization"] for answer in answers]
    assert headers == [f"Bearer {sandbox.issued_jwts[number]}" for number in (0, 0, 1)]
    assert sandbox.counters.exchanges == 2
    assert sandbox.counters.unauthorized == 1
