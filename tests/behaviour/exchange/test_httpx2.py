"""Logins over httpx2, which end like those over httpx."""

from __future__ import annotations

import contextlib
import socket

from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest

from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.exchange import Issued, Malformed, Misconfigured, Unavailable
from taxizer_async.httpx2 import HTTPX2
from taxizer_async.testing import Sandbox
from tests.support.forward_proxy import ForwardProxy
from tests.support.raw_server import RawServer, answer, flood, hang, reset
from tests.support.token_calls import Asker


ISSUING = (answer(b'{"jwtToken": "j-1"}'),)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (ISSUING, Issued),
        ((reset,), Unavailable),
        ((hang,), Unavailable),
        ((flood,), Unavailable),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",), Unavailable),
        ((b"junk\r\n\r\n",), Unavailable),
        ((answer(b"", "Location: /", status="302 Found"),), Malformed),
        ((answer(b" " * 1_100_000),), Malformed),
        ((answer(b"\x1f\x8b junk", "Content-Encoding: gzip"),), Malformed),
    ],
    ids=[
        "issued",
        "reset",
        "hang",
        "flood",
        "truncated",
        "no-http",
        "redirect",
        "too-long",
        "wrong-encoding",
    ],
)
async def test_each_answer_is_the_same_outcome_as_over_httpx(script: Any, kind: type) -> None:
    """Both libraries make the same of an answer, down to the text."""
    outcomes = []
    for library in (HTTPX2, HTTPX):
        with RawServer(script) as server:
            asker = Asker(server.base_url, library=library, attempt_timeout=1.5)
            outcomes.append(await asker.connect(attempts=1))

    ours, theirs = outcomes
    assert isinstance(ours, kind)
    assert type(ours) is type(theirs)
    if isinstance(ours, Unavailable):
        assert ours == theirs


@pytest.mark.parametrize(
    "way", ["closed", "full", "unknown-name", "tls", "proxy-refuses", "no-proxy"]
)
async def test_what_was_never_sent_is_known_as_over_httpx(way: str, sandbox: Sandbox) -> None:
    """A connection that could not be made leaves the refresh token good, and has the same reason."""
    with contextlib.ExitStack() as servers:
        make = _way_there(way, sandbox, servers)
        outcomes = []
        for library, module in ((HTTPX2, httpx2), (HTTPX, httpx)):
            base_url, client = make(module)
            asker = Asker(base_url, library=library, http_client=client, connect_timeout=0.2)
            outcomes.append(await asker.refresh())

    ours, theirs = outcomes
    assert isinstance(ours, Unavailable)
    assert ours.not_processed
    assert ours == theirs


def _way_there(
    way: str, sandbox: Sandbox, servers: contextlib.ExitStack
) -> Callable[[Any], tuple[str, Any]]:
    """Return what makes, for a library, the URL to ask and a client's factory."""
    if way == "closed":
        with RawServer(ISSUING) as gone:
            return lambda _: (gone.base_url, None)
    if way == "full":
        port = _full_port(servers)
        return lambda _: (f"http://127.0.0.1:{port}", None)
    if way == "unknown-name":
        return lambda _: ("https://taxizer.invalid", None)
    if way == "tls":
        return lambda _: (sandbox.base_url.replace("http", "https"), None)
    if way == "no-proxy":
        with RawServer(ISSUING) as gone:
            return lambda module: (
                sandbox.base_url,
                lambda: module.AsyncClient(proxy=gone.base_url),
            )
    proxy = servers.enter_context(ForwardProxy(refusal="407 Proxy Authentication Required"))
    return lambda module: ("https://api.example", lambda: module.AsyncClient(proxy=proxy.url))


def _full_port(servers: contextlib.ExitStack) -> int:
    """Listen with a queue that is full, so that a connection is neither made nor refused."""
    listener = servers.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    waiting = servers.enter_context(socket.socket())
    waiting.connect(listener.getsockname())
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (httpx.AsyncClient, "returned AsyncClient"),
        (httpx2.Client, "returned Client"),
        (lambda: None, "returned NoneType"),
    ],
)
async def test_http_client_returns_a_client_of_httpx2(
    sandbox: Sandbox, made: Any, complaint: str
) -> None:
    """The error about an http_client of another library names the client that is wanted."""
    outcome = await Asker(sandbox.base_url, library=HTTPX2, http_client=made).connect()

    assert isinstance(outcome, Misconfigured)
    assert f"{complaint}: it must return a fresh httpx2.AsyncClient" in outcome.reason
