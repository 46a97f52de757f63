"""Bodies and timestamps as the codec and the response reader get them, and records of a damaged store."""

from __future__ import annotations

import json
import math
import re
import tracemalloc

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import httpx

from taxizer_async import Token
from taxizer_async._core.codec import Undecodable, decode_token, describe, parse_timestamp
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.response import MAX_ANSWER, RawResponse
from taxizer_async._token.cached_token import from_record
from taxizer_async.stores._records import decode_record
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz import headers
from tests.campaigns.fuzz.bodies import Packed, body, good_token, pack, value
from tests.campaigns.fuzz.campaign import Target, always
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.verdict import require, shows_canary


_POLICY: Final = RenewalPolicy()
#: Reading an answer may take so many times the memory that its size is bounded to.
_SHARE_OF_MEMORY: Final = 5


def check_token(token: Token) -> None:
    """Check that *token* can be sent, and that its dates are usable."""
    require(re.fullmatch(r"[!-~]+", token.jwt.reveal()), "a JWT can stand in a header")
    for moment in (token.expires_at, token.refresh_expires_at):
        if moment is not None:
            require(moment.utcoffset() == timedelta(0), "a moment is in UTC")
            require(math.isfinite(moment.timestamp()), "a moment can be reckoned with")
    texts = (token.app_id, token.app_name, token.account_id, token.account_name, token.username)
    require(all(text is None or isinstance(text, str) for text in texts), "names are texts")
    require(not shows_canary(token.jwt, token.refresh_token), "no secret is seen in a token")


async def _feed_token(sent: bytes) -> str:
    decoded = decode_token(sent)
    if isinstance(decoded, Undecodable):
        require(not shows_canary(decoded, describe(sent)), "no value is seen in an excerpt")
        return "Undecodable"
    check_token(decoded.token)
    return "Decoded"


async def _feed_timestamp(text: str) -> str:
    moment = parse_timestamp(text)
    if moment is None:
        return "None"
    require(moment.utcoffset() == timedelta(0), "a moment is in UTC")
    require(math.isfinite(moment.timestamp()), "a moment can be reckoned with")
    if re.fullmatch(r"20\d\d-(0\d|1[0-2])-[0-2]\dT\d\d:\d\d:\d\dZ", text):
        known = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        require(moment == known, "a moment is the one that was written")
    return "datetime"


def _draw_record(draw: Draw) -> bytes:
    if draw.chance(0.1):
        return draw.junk()
    token = good_token(draw)
    record: dict[str, Any] = {
        "format": 1,
        "base_url": "https://api.example",
        "client_id": "app",
        "written": {"boot": "1", "at": 5.0},
        "version": "v1",
        "lifetime": draw.random.uniform(0, 9000),
        "refresh_lifetime": draw.pick((None, 9000.0)),
        "age": draw.random.uniform(0, 9000),
        "refresh_spent": draw.chance(0.5),
        "token": token,
    }
    for _ in range(draw.below(3)):
        place = token if draw.chance(0.3) else record
        name = draw.pick(tuple(place))
        if draw.chance(0.1) and place is record:
            del place[name]
            continue
        place[name] = draw.pick((value(draw), 1e308, -1e308, 1e-320, -1.0))
    sent = json.dumps(record).encode()
    return draw.spoil_bytes(sent) if draw.chance(0.3) else sent


async def _feed_record(sent: bytes) -> str:
    stored = decode_record(sent)
    if isinstance(stored, Undecodable):
        require(not shows_canary(stored), "no value is seen in an excerpt")
        return "Undecodable"
    check_token(stored.content.token)
    clock = ManualClock()
    cached = from_record(stored.content, clock=clock, policy=_POLICY, jitter=0.5)
    cached.freshness(clock)
    require(not math.isnan(cached.remaining(clock)), "what is left of a token is a number")
    require(isinstance(cached.refreshable(clock), bool), "a record can be judged")
    return "Stored"


@attrs.frozen
class _Sent:
    packed: Packed
    chunks: tuple[bytes, ...] = attrs.field(repr=False)


def _draw_answer(draw: Draw) -> _Sent:
    packed = pack(draw, body(draw))
    return _Sent(packed, draw.pieces(packed.content))


async def _feed_answer(sent: _Sent) -> str:
    packed = sent.packed
    named = {} if packed.encoding is None else {"Content-Encoding": packed.encoding}
    answer = RawResponse(status_code=200, headers=httpx.Headers(_raw(named)))
    if not packed.is_bomb:
        return _read(answer, sent)
    tracemalloc.start()
    try:
        outcome = _read(answer, sent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    require(peak <= _SHARE_OF_MEMORY * MAX_ANSWER, f"a bomb does not take {peak:,} bytes")
    return outcome


def _read(answer: RawResponse, sent: _Sent) -> str:
    for chunk in sent.chunks:
        if not answer.add(chunk):
            break
    read = answer.body()
    if read is None:
        return "too long"
    require(len(read) <= MAX_ANSWER, "a body that is read is within its bound")
    plain = sent.packed.plain
    require(plain is None or read == plain or len(plain) > MAX_ANSWER, "a body is what was sent")
    return "inflated" if read != sent.packed.content else "as it came"


def _raw(named: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(n.encode(), text.encode("utf-8", "surrogatepass")) for n, text in named.items()]


CODEC: Final = (
    Target("token", 0.18, body, always(_feed_token), {"Decoded", "Undecodable"}),
    Target("timestamp", 0.16, headers.timestamp, always(_feed_timestamp), {"datetime", "None"}),
    Target("record", 0.09, _draw_record, always(_feed_record), {"Stored", "Undecodable"}),
    Target(
        "answer", 0.14, _draw_answer, always(_feed_answer), {"inflated", "as it came", "too long"}
    ),
)
