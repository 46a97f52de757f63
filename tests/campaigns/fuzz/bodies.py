"""Bodies of answers: tokens, spoilt tokens and other things, also compressed."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import zlib

from typing import Any, Final

import attrs

from taxizer_async._http.response import MAX_ANSWER
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.headers import timestamp
from tests.campaigns.fuzz.verdict import CANARY


_OTHERS: Final = (
    *(b"", b" ", b"null", b"17", b"1e999", b"-Infinity", b"NaN", b'"x"', b"[]", b"{}"),
    *(b"[" * 20_000,),
    *(b'{"a":' * 20_000, b"1" * 6_000, b'{"jwtToken":' + b"9" * 6_000 + b"}", b"\xff\xfe"),
    *(b"\0" * 9,),
    b"[" * 900 + b"]" * 900,
    f"<html><title>502 Bad Gateway</title>{CANARY}</html>".encode(),
    f"clientId=x&clientSecret={CANARY}".encode(),
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
)
_ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7")
# Written by brotli 1.2 and zstandard 0.25; httpx reads them with an extra only.
_BROTLI: Final = base64.b64decode(
    "G1gAQIzDOBZ8gKdFKiNUOtTkSG8H9GmIBc1Tt6W+7OHWNxFDu8X+oEHkHLQIDrl5goHBgQsQ00oSygvG875zQ29to3FRIaHbEUBOu9o7"
    "061E1wrBb6FkrMzSgQ8="
)
_ZSTANDARD: Final = base64.b64decode(
    "KLUv/SBZZQIA5AN7Imp3dFRva2VuIjogImotMSIsICJyZWZyZXNockV4cGlyZUF0VVRDMjAzMC0wMS0wMVQwMDowMDowMFoifQQAWAVv"
    "igQYFy2mEw=="
)


@attrs.frozen
class Packed:
    """
    A body as it is sent.

    Attributes:
        content: Its bytes …
        encoding: … and what `Content-Encoding` says they are; None if there is none.
        plain: What they must be read as; None if that is open.
        is_bomb: Whether it inflates beyond the bound.
    """

    content: bytes = attrs.field(repr=lambda content: repr(content[:2000]))
    encoding: str | None
    plain: bytes | None = attrs.field(repr=False)
    is_bomb: bool = False


def good_token(draw: Draw) -> dict[str, Any]:
    """Return a token as the API documents it."""
    return {
        "appId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "appName": "InvoiceApp",
        "accountId": "acc12345",
        "accountName": "MainAccount",
        "username": "user2024",
        "jwtToken": f"{CANARY}.{draw.below(1_000_000)}",
        "jwtTokenExpireAtUTC": timestamp(draw),
        "refreshToken": f"{CANARY}-r{draw.below(1_000_000)}",
        "refreshTokenExpireAtUTC": timestamp(draw),
    }


def value(draw: Draw, depth: int = 2) -> Any:
    """Return a value that Python can write as JSON."""
    kind = draw.below(9 if depth else 7)
    if kind < 3:
        return draw.text()
    if kind == 7:
        return [value(draw, depth - 1) for _ in range(draw.below(4))]
    if kind == 8:
        return {draw.text(): value(draw, depth - 1) for _ in range(draw.below(4))}
    return draw.pick(
        (None, True, False, 0, -1, 1.5, 1e308, 10**400, float("nan"), float("inf"), "")
    )


def spoilt_token(draw: Draw) -> dict[str, Any]:
    """Return almost a token as the API documents it."""
    token = good_token(draw)
    for _ in range(draw.few()):
        name = draw.pick(tuple(token)) if token and draw.chance(0.9) else draw.text()
        kind = draw.below(4)
        if kind == 0:
            token.pop(name, None)
        elif kind == 1 and isinstance(token.get(name), str):
            token[name] = draw.spoil(token[name])
        elif kind == 2:
            token[draw.spoil(name)] = token.pop(name, None)
        else:
            token[name] = value(draw)
    return token


def encode(draw: Draw, content: Any) -> bytes:
    """Return JSON, in one of its encodings."""
    text = json.dumps(content, ensure_ascii=draw.chance(0.5))
    encoding = "utf-8" if draw.chance(0.8) else draw.pick(_ENCODINGS)
    return text.encode(encoding, "surrogatepass" if encoding != "utf-7" else "replace")


def body(draw: Draw) -> bytes:
    """Return the body of an answer."""
    kind = draw.random.random()
    if kind < 0.15:
        return encode(draw, good_token(draw))
    if kind < 0.55:
        return encode(draw, spoilt_token(draw))
    if kind < 0.8:
        return draw.spoil_bytes(json.dumps(good_token(draw)).encode())
    if kind < 0.9:
        return draw.pick(_OTHERS)
    if kind < 0.98:
        return draw.junk()
    return encode(draw, value(draw, depth=4))


def pack(draw: Draw, plain: bytes) -> Packed:
    """Return *plain* as it is, or compressed, or wrongly said to be compressed."""
    kind = draw.random.random()
    if kind < 0.6:
        return Packed(plain, draw.pick((None, None, None, "identity", " Identity ")), plain)
    if kind < 0.8:
        name, content = draw.pick(
            (
                ("gzip", gzip.compress(plain, 1, mtime=0)),
                ("deflate", zlib.compress(plain, 1)),
                ("GZip ", gzip.compress(plain, 1, mtime=0)),
            )
        )
        return Packed(content, name, plain)
    if kind < 0.82:
        return _huge(draw)
    return _mispacked(draw, plain)


def _huge(draw: Draw) -> Packed:
    if draw.chance(0.3):
        return Packed(b" " * (MAX_ANSWER + draw.pick((-1, 0, 1, 70_000))), None, None)
    return Packed(draw.pick(_bombs()), draw.pick(("gzip", "deflate")), None, is_bomb=True)


def _mispacked(draw: Draw, plain: bytes) -> Packed:
    packed = gzip.compress(plain, 1, mtime=0)
    content = draw.pick(
        (
            packed[: draw.below(len(packed) + 1)],
            draw.spoil_bytes(packed),
            draw.spoil_bytes(zlib.compress(plain, 1)),
            gzip.compress(packed, 1, mtime=0),
            packed + draw.junk(),
            packed + packed,
            zlib.compress(plain, 1)[2:-4],
            draw.spoil_bytes(_BROTLI) if draw.chance(0.3) else _BROTLI,
            draw.spoil_bytes(_ZSTANDARD) if draw.chance(0.3) else _ZSTANDARD,
            plain,
            b"",
        )
    )
    named = ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "compress", "identity", "")
    name = draw.text() if draw.chance(0.1) else draw.pick(named)
    return Packed(content, name, None)


@functools.cache
def _bombs() -> tuple[bytes, ...]:
    zeros = zlib.compress(bytes(64 * MAX_ANSWER), 9)
    spaces = gzip.compress(b" " * (MAX_ANSWER + 1), 9, mtime=0)
    return zeros, spaces, zlib.compress(zeros, 9), zeros[:-2000]
