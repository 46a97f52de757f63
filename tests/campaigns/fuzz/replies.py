"""Answers of a server in memory, or the errors of its transport."""

from __future__ import annotations

import errno
import socket
import ssl

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final, final

import anyio
import anyio.lowlevel
import attrs
import h11
import httpx

from taxizer_async._http.response import MAX_ANSWER
from tests.campaigns.fuzz import headers
from tests.campaigns.fuzz.bodies import Packed, body, encode, good_token, pack
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import CANARY


_STATUSES: Final = (
    *(200, 200, 200, 200, 200, 201, 204, 299, 301, 302, 304, 307, 400, 401, 403, 404, 408, 418),
    *(422,),
    *(429, 429, 500, 502, 503, 503, 504, 599, 600, 799, 999),
)
_ODD_STATUSES: Final = (0, 1, 99, 100, 101, 103, 199, 1000, 65_536, 10**9)
_CHUNK: Final = b" " * 65_536
#: Chunks of an endless body; a reader must stop before their end.
_ENDLESS: Final = 64

_FAULTY: Final[tuple[Callable[[str], Exception], ...]] = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ReadError),
    *(httpx.WriteError, httpx.RemoteProtocolError, httpx.ProxyError, httpx.UnsupportedProtocol),
    *(httpx.DecodingError, httpx.InvalidURL, h11.RemoteProtocolError, ssl.SSLCertVerificationError),
    *(OSError, TimeoutError, RuntimeError, KeyError, RecursionError),
)
_FAULTS: Final[tuple[Callable[[], Exception], ...]] = (
    *(partial(each, CANARY) for each in _FAULTY),
    *(httpx.StreamClosed, anyio.BrokenResourceError, anyio.EndOfStream),
    lambda: httpx.ReadTimeout(""),
    lambda: OSError(errno.ECONNRESET, CANARY),
    lambda: OSError(-1, CANARY),
    lambda: ssl.SSLError(1, CANARY),
    lambda: socket.gaierror(-2, CANARY),
    lambda: ExceptionGroup(CANARY, [OSError(errno.EPIPE, CANARY), ValueError(CANARY)]),
    lambda: UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
)


@attrs.frozen(kw_only=True)
class Reply:
    """
    The answer to one request.

    Attributes:
        status: Its status code.
        headers: Its headers, as bytes.
        packed: Its body …
        chunks: … as it comes in.
        fault: The number of the error that is raised; None if none is.
        breaks_off: Whether the error comes after the body, and not in place of the answer.
        hangs: Whether the body stops without an end.
        endless: Whether the body has no end.
        read: Whether the transport has read the body already.
        pristine: Whether nothing in it is spoilt.
    """

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    packed: Packed
    chunks: tuple[bytes, ...] = attrs.field(repr=False)
    fault: int | None = None
    breaks_off: bool = False
    hangs: bool = False
    endless: bool = False
    read: bool = False
    pristine: bool = False


def good_reply(draw: Draw) -> Reply:
    """Return a token, as the API sends it."""
    token = good_token(draw) | {"jwtTokenExpireAtUTC": "2027-01-15T09:00:00.1234567Z"}
    token["refreshTokenExpireAtUTC"] = "2027-02-15T09:00:00"
    content = encode(draw, token)
    sent = ((b"Content-Type", b"application/json"), (b"Date", b"Fri, 15 Jan 2027 08:00:00 GMT"))
    return Reply(
        headers=sent, packed=Packed(content, None, content), chunks=(content,), pristine=True
    )


def reply(draw: Draw) -> Reply:
    """Return any answer of a server or a gateway."""
    kind = draw.random.random()
    if kind < 0.1:
        return good_reply(draw)
    packed = pack(draw, body(draw))
    fields: dict[str, Any] = {}
    if kind < 0.2:
        fields |= {"fault": draw.below(len(_FAULTS)), "breaks_off": draw.chance(0.4)}
    elif kind < 0.21:
        fields["hangs"] = True
    elif kind < 0.215:
        fields["endless"] = True
    return attrs.evolve(
        Reply(packed=packed, chunks=draw.pieces(packed.content)),
        status=draw.pick(_ODD_STATUSES if draw.chance(0.03) else _STATUSES),
        headers=_headers(draw, packed),
        read=draw.chance(0.05) and not packed.is_bomb,
        **fields,
    )


def challenged(draw: Draw) -> Reply:
    """Return a 401 of a resource."""
    value = headers.challenge(draw).encode("utf-8", "surrogatepass")
    base = reply(draw)
    if draw.chance(0.6):
        base = Reply(packed=base.packed, chunks=base.chunks)
    return attrs.evolve(
        base, status=401, headers=(*base.headers, (b"WWW-Authenticate", value)), pristine=False
    )


def make_fault(number: int) -> Exception:
    """Return the error with this number."""
    return _FAULTS[number]()


def _headers(draw: Draw, packed: Packed) -> tuple[tuple[bytes, bytes], ...]:
    drawn = headers.known(draw)
    if packed.encoding is not None:
        drawn.append(("Content-Encoding", packed.encoding))
    if draw.chance(0.2):
        drawn.append(headers.stray(draw))
    if draw.chance(0.3):
        drawn.append(("Content-Type", "application/json"))
    encoding = draw.pick(("utf-8", "utf-8", "latin-1"))
    return tuple((name.encode(), _bytes(text, encoding)) for name, text in drawn)


def _bytes(text: str, encoding: str) -> bytes:
    errors = "surrogatepass" if encoding == "utf-8" else "replace"
    return text.encode(encoding, errors)


@final
class Server(httpx.AsyncBaseTransport):
    """
    Answers with *replies* in turn, then with the last one.

    Attributes:
        asked: Requests so far.
        pulled: Bytes of the longest body, as far as it was taken.
        last: The last answer.
    """

    def __init__(self, *replies: Reply) -> None:
        self._replies = replies
        self.asked = 0
        self.pulled = 0
        self.last: Reply = replies[0]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.last = self._replies[min(self.asked, len(self._replies) - 1)]
        self.asked += 1
        return self._answer(self.last)

    def answer_with(self, *replies: Reply) -> None:
        """Answer with these from now on."""
        self._replies = replies

    def _answer(self, given: Reply) -> httpx.Response:
        if given.fault is not None and not given.breaks_off:
            raise make_fault(given.fault)
        sent = [*given.headers]
        if given.read:
            return httpx.Response(given.status, headers=sent, content=given.packed.content)
        return httpx.Response(given.status, headers=sent, stream=_Body(given, self))

    @property
    def stopped_in_time(self) -> bool:
        """Whether no body was read beyond its bound."""
        return self.pulled <= MAX_ANSWER + 2 * len(_CHUNK)


# A class, as a generator that is left early complains when it is collected.
@final
class _Body(httpx.AsyncByteStream):
    def __init__(self, given: Reply, server: Server) -> None:
        self._given = given
        self._server = server
        padding = [_CHUNK] * _ENDLESS if given.endless else []
        self._chunks: Final = iter([*given.chunks, *padding])
        self._pulled = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        chunk = next(self._chunks, None)
        if chunk is not None:
            self._pulled += len(chunk)
            self._server.pulled = max(self._server.pulled, self._pulled)
            return chunk
        if self._given.hangs:
            await anyio.sleep_forever()
        if self._given.fault is not None:
            raise make_fault(self._given.fault)
        raise StopAsyncIteration
