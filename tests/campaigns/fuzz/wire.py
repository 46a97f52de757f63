"""Bytes of a server on a real loopback socket, through `HttpExchange` and `TaxizerClient`."""

from __future__ import annotations

import itertools

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

import attrs
import httpx

from taxizer_async import Credentials, RenewalPolicy, TaxizerClient
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz.auth import RESOURCES_OWN, told, works_again
from tests.campaigns.fuzz.campaign import Target
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.exchange import Asked, Caller, draw_asked
from tests.campaigns.fuzz.plain_httpx import generators_may_be_left, tls_context
from tests.campaigns.fuzz.raw import Raw, challenged_raw, good_raw, raw
from tests.campaigns.fuzz.verdict import CANARY, HTTPX_ERRORS, judge, require, shows_canary
from tests.support.raw_server import RawServer, flood, hang, reset, trickle


if TYPE_CHECKING:
    import socket

    from collections.abc import Callable, Iterator

    from tests.campaigns.fuzz.campaign import Feed


_PAIR: Final = Credentials("app", CANARY)
_GOOD: Final = good_raw(Draw(0))
_FINE: Final = Raw((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",))
_HASTE: Final = RenewalPolicy(attempt_timeout=0.05, connect_timeout=0.05, exchange_timeout=0.2)
_POLICY: Final = RenewalPolicy()
#: What a request may take when nothing hangs, within the deadline of an input.
_PATIENCE: Final = 4.0
_DEEDS: Final[dict[str, Callable[[RawServer, socket.socket], None]]] = {
    "hang": hang,
    "trickle": trickle,
    "flood": flood,
    "reset": reset,
    "close": lambda *_: None,
}


@final
class _Peer:
    """The server: does what the input at hand says, with the token endpoints' requests and others."""

    def __init__(self) -> None:
        self._tokens: Iterator[Raw] = iter(())
        self._resources: Iterator[Raw] = iter(())
        self._server = RawServer((self._serve,))

    def answer_with(self, tokens: tuple[Raw, ...], resources: tuple[Raw, ...] = (_FINE,)) -> None:
        """Answer with these in turn, then with the last one."""
        self._tokens = itertools.chain(tokens, itertools.repeat(tokens[-1]))
        self._resources = itertools.chain(resources, itertools.repeat(resources[-1]))

    def _serve(self, server: RawServer, peer: socket.socket) -> None:
        is_login = b" /v1/Auth/" in server.requests[-1][:40]
        for step in next(self._tokens if is_login else self._resources).steps:
            if isinstance(step, bytes):
                peer.sendall(step)
            else:
                _DEEDS[step](server, peer)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve; give the URL."""
        with self._server as server:
            yield server.base_url


@contextmanager
def _start_exchange() -> Iterator[Feed]:
    peer = _Peer()
    with peer.running() as base_url, generators_may_be_left("httpx._content.ByteStream"):

        async def feed(given: tuple[Asked, tuple[Raw, ...]]) -> str:
            asked, answers = given
            peer.answer_with(answers)
            kind = await Caller(base_url, asked, None).call()
            if answers[0].pristine and not asked.hasty:
                require(kind == "Issued", "a good answer is a token")
            return kind

        yield feed


def _draw_exchange(draw: Draw) -> tuple[Asked, tuple[Raw, ...]]:
    answers = tuple(raw(draw) for _ in range(draw.few()))
    return draw_asked(draw, (), hasty=any(each.is_endless for each in answers)), answers


@attrs.frozen(kw_only=True)
class _Story:
    tokens: tuple[Raw, ...]
    resource: Raw
    recovers: bool


def _draw_story(draw: Draw) -> _Story:
    resource = raw(draw) if draw.chance(0.5) else challenged_raw(draw)
    while {"trickle", "flood"}.intersection(resource.steps):  # httpx takes these for ever
        resource = raw(draw)
    return _Story(
        tokens=tuple(raw(draw) if draw.chance(0.5) else good_raw(draw) for _ in range(draw.few())),
        resource=resource,
        recovers=draw.chance(0.5),
    )


@final
class _Stories:
    def __init__(self, peer: _Peer, base_url: str) -> None:
        self._peer = peer
        self._url = base_url

    async def feed(self, story: _Story) -> str:
        clock = ManualClock(autojump=True)
        self._peer.answer_with(story.tokens, (story.resource,))
        hasty = any(each.is_endless for each in story.tokens)
        async with TaxizerClient(
            _PAIR,
            base_url=self._url,
            policy=_HASTE if hasty else _POLICY,
            clock=clock,
            verify=tls_context(),
            timeout=_timeout(story),
            # The server closes each connection, which may not have been noticed.
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as client:
            kind = await self._send(client, story)
            require(not shows_canary(client.auth.status(), client.auth), "no secret is told of")
            if story.recovers:
                self._peer.answer_with((_GOOD,))
                client.timeout = _PATIENCE
                # httpx refuses to send a cookie that is not ASCII.
                client.cookies.clear()
                await works_again(client, "/v1/Invoices", clock, hasty=hasty)
        return kind

    async def _send(self, client: httpx.AsyncClient, story: _Story) -> str:
        try:
            return told(await client.post("/v1/Invoices", content=b"{}"))
        except HTTPX_ERRORS as error:
            require(await self._fails_anyway(story), f"{error!r} is the resource's own")
            return RESOURCES_OWN
        except Exception as error:  # noqa: BLE001 - judged
            return judge(error)

    async def _fails_anyway(self, story: _Story) -> bool:
        self._peer.answer_with(story.tokens, (story.resource,))
        async with httpx.AsyncClient(verify=tls_context(), timeout=_timeout(story)) as plain:
            try:
                await plain.post(f"{self._url}/v1/Invoices", content=b"{}")
            except HTTPX_ERRORS:
                return True
        return False


def _timeout(story: _Story) -> float:
    return 0.1 if story.resource.is_endless else _PATIENCE


@contextmanager
def _start_stories() -> Iterator[Feed]:
    peer = _Peer()
    with peer.running() as base_url, generators_may_be_left():
        yield _Stories(peer, base_url).feed


WIRE: Final = (
    Target(
        "wire",
        0.02,
        _draw_exchange,
        _start_exchange,
        {"Issued", "Refused", "Unavailable", "Malformed"},
        on_loop=True,
    ),
    Target(
        "wire-auth",
        0.01,
        _draw_story,
        _start_stories,
        {"401", "another status", "TokenEndpointUnavailableError", "TokenResponseError"},
        on_loop=True,
    ),
)
