"""Answers as bytes on the wire: what breaks the rules of HTTP itself, or breaks off."""

from __future__ import annotations

import json

from typing import TYPE_CHECKING, Final

import attrs

from tests.campaigns.fuzz import headers
from tests.campaigns.fuzz.bodies import body, good_token, pack
from tests.campaigns.fuzz.verdict import CANARY


if TYPE_CHECKING:
    from tests.campaigns.fuzz.draw import Draw


#: What is done in place of sending, by name; see `wire`.
ENDLESS: Final = ("hang", "trickle", "flood")
_STATUS_LINES: Final = (
    *(b"HTTP/1.1 200 OK",) * 8,
    *(b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 503 cnry-5ecret"),
    *(b"HTTP/1.1 429 Too Many Requests", b"HTTP/1.1 302 Found", b"HTTP/1.1 204 No Content"),
    *(b"HTTP/1.1 304 Not Modified", b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/2 200"),
    *(b"HTTP/1.1 999 cnry-5ecret", b"HTTP/1.1 099 ?", b"HTTP/1.1 -200 OK", b"HTTP/1.1 2000 OK"),
    *(b"http/1.1 200 ok", b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK", b"HTTP/9.9 200 OK"),
    *(b"ICY 200 OK",),
    *(b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200 \xff\xfe", b""),
    *(b"\r\n\r\nHTTP/1.1 200 OK",),
)
_NO_HTTP: Final = (
    *(b"", b"\r\n", b"SSH-2.0-cnry-5ecret\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x00" * 500),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18),
    *(b"220 mail.example ESMTP\r\n", b"<html>cnry-5ecret", b'{"jwtToken": "cnry-5ecret"}'),
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r", b"A" * 200_000),
)
_INFORMATIONAL: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </cnry-5ecret>\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 199 cnry-5ecret\r\n\r\n",
)
_LENGTHS: Final = (b"-1", b"+5", b"0x10", b"1e3", b"5, 5", b"5, 6", b"9" * 30, b"", b"cnry", b"0")
_SIZES: Final = (b"-1", b"0x5", b"ffffffffffffffffffff", b"cnry-5ecret", b"", b"5;ext=" + b"a" * 50)
_HUGE_HEADS: Final = (
    b"X-Long: " + b"a" * 150_000,
    b"\r\n".join(b"X-%d: a" % number for number in range(5_000)),
    b"X-Fold: a\r\n b\r\n\tc",
    b"no colon",
    b"X Bad: a",
    b": nothing",
    b"X-Nul: a\0b",
    b"X-Bare: a\nX-Cut: b\rc",
    b"Content-Encoding: gzip\r\nContent-Encoding: br",
)


@attrs.frozen
class Raw:
    """
    What is done with one connection once its request was read; then it is closed.

    Attributes:
        steps: Bytes to send, or the names of other things to do.
        pristine: Whether it is a good token.
    """

    steps: tuple[bytes | str, ...]
    pristine: bool = False

    @property
    def is_endless(self) -> bool:
        """Whether it only ends when the client leaves."""
        return any(step in ENDLESS for step in self.steps)


def good_raw(draw: Draw) -> Raw:
    """Return a token, in one of the ways that a server may send one."""
    content = json.dumps(good_token(draw)).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    whole = draw.pick(
        (
            head + b"Content-Length: %d\r\n\r\n" % len(content) + content,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(draw, content),
            b"HTTP/1.0 200 OK\r\n\r\n" + content,
            draw.pick(_INFORMATIONAL[:2]) + head + b"Connection: close\r\n\r\n" + content,
        )
    )
    return Raw(draw.pieces(whole), pristine=True)


def raw(draw: Draw) -> Raw:
    """Return whatever may come over a connection."""
    kind = draw.random.random()
    if kind < 0.1:
        return good_raw(draw)
    if kind < 0.18:
        whole = draw.pick(_NO_HTTP) if draw.chance(0.7) else draw.junk()
    else:
        whole = _answer(draw)
    if draw.chance(0.2):
        whole = draw.spoil_bytes(whole)
    steps: list[bytes | str] = [*draw.pieces(whole)]
    if draw.chance(0.12):
        cut = whole[: draw.below(len(whole) + 1)]
        steps = [*draw.pieces(cut), draw.pick(("reset", "close"))]
    elif draw.chance(0.02):
        steps = [whole[: draw.below(len(whole) + 1)], draw.pick(ENDLESS)]
    return Raw(tuple(steps))


def challenged_raw(draw: Draw) -> Raw:
    """Return a 401 that HTTP allows."""
    value = "".join(each for each in headers.challenge(draw) if each.isprintable())
    content = draw.junk()
    head = f"HTTP/1.1 401 \r\nContent-Length: {len(content)}\r\nWWW-Authenticate: {value}\r\n\r\n"
    return Raw(draw.pieces(head.encode() + content))


def _answer(draw: Draw) -> bytes:
    packed = pack(draw, body(draw))
    lines = [draw.pick(_STATUS_LINES)]
    if draw.chance(0.1):
        lines[0] = draw.spoil_bytes(lines[0])
    named = headers.known(draw)
    if draw.chance(0.2):
        named.append(headers.stray(draw))
    if packed.encoding is not None:
        named.append(("Content-Encoding", packed.encoding))
    lines += [f"{name}: {text}".encode("utf-8", "surrogatepass") for name, text in named]
    if draw.chance(0.05):
        lines.append(draw.pick(_HUGE_HEADS))
    framing, content = _framed(draw, packed.content)
    before = draw.pick(_INFORMATIONAL) * draw.few() if draw.chance(0.08) else b""
    after = _INFORMATIONAL[0] if draw.chance(0.03) else b""
    return before + b"\r\n".join([*lines, *framing, b"", b""]) + content + after


def _framed(draw: Draw, content: bytes) -> tuple[list[bytes], bytes]:
    """Return headers that say where *content* ends, truly or not, and how it is sent."""
    kind, length = draw.random.random(), len(content)
    if kind < 0.64:
        said = b"%d" % length
        if kind > 0.5:
            wrong = b"%d" % max(0, length + draw.pick((-5, -1, 1, 10**6)))
            said = draw.pick((wrong, draw.pick(_LENGTHS)))
        return [b"Content-Length: " + said], content
    if kind > 0.96:
        return [], content
    lines = [b"Transfer-Encoding: chunked"]
    if kind > 0.92:
        lines.append(b"Content-Length: 3")
    chunk = _wrongly_chunked if kind > 0.84 else _chunked
    return lines, chunk(draw, content)


def _chunked(draw: Draw, content: bytes) -> bytes:
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in draw.pieces(content) if each]
    return b"".join(chunks) + b"0\r\n\r\n"


def _wrongly_chunked(draw: Draw, content: bytes) -> bytes:
    right = _chunked(draw, content)
    return draw.pick(
        (
            right[:-5],
            right.replace(b"\r\n", b"\n"),
            draw.pick(_SIZES) + b"\r\n" + right,
            right[:-2] + f"X-Trailer: {CANARY}\r\n\r\n".encode(),
            right[:-2] + b"X-Trailer: " + b"a" * 100_000 + b"\r\n\r\n",
            b"%x\r\n" % (len(content) + 7) + content,
        )
    )
