"""Reads a response of a token endpoint: its body within bounds, and what it means."""

from __future__ import annotations

import zlib

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import anyio
import attrs

from taxizer_async._core.clock import Clock
from taxizer_async._core.codec import Undecodable, decode_token, describe, is_json
from taxizer_async._core.exchange import Issued, Malformed, Outcome, Refused, Unavailable, may_pass
from taxizer_async._core.log_lines import LOG
from taxizer_async._core.models import Token
from taxizer_async._core.policy import time_of_sending
from taxizer_async._http.headers import parse_http_date, parse_retry_after


#: Bytes. A token response has a few KiB; anything longer is something else.
MAX_ANSWER: Final = 1024 * 1024

# Makes zlib detect a gzip or a zlib header by itself.
_ANY_HEADER: Final = zlib.MAX_WBITS + 32

_REFUSALS: Final = frozenset({400, 401, 403})
# Only this: a gateway may answer 503 after the server took the request.
_NOT_PROCESSED: Final = HTTPStatus.TOO_MANY_REQUESTS


@attrs.define(eq=False, repr=False)
class RawResponse:
    """
    As much of a response as has been received.

    Attributes:
        status_code: 0 until the head has been received.
        raw: The body as it was sent.
        is_encoded: Whether *raw* is still in its content encoding.
        complete: Whether all of the body, or *most* bytes of it, have been received.
    """

    status_code: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    raw: bytearray = attrs.field(factory=bytearray)
    is_encoded: bool = True
    complete: bool = False
    most: int = MAX_ANSWER

    @property
    def is_success(self) -> bool:
        """Whether the status promises a token."""
        return 200 <= self.status_code < 300  # noqa: PLR2004

    @property
    def is_usable(self) -> bool:
        """Whether it can be interpreted; of a failure, the status is enough."""
        return self.complete or (self.status_code != 0 and not self.is_success)

    @property
    def is_html(self) -> bool:
        kind = self.headers.get("Content-Type", "").lower()
        return "html" in kind or (self.body() or b"").lstrip().startswith(b"<")

    def add(self, chunk: bytes) -> bool:
        """Append *chunk* to the body; return whether more is wanted."""
        self.raw += chunk
        return len(self.raw) <= self.most

    def body(self) -> bytes | None:
        """Return the decoded body; None if it is longer than wanted."""
        if len(self.raw) > self.most:
            return None
        raw = bytes(self.raw)
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity" or not self.is_encoded:
            return raw
        # Some gateways compress although the request did not ask for it.
        inflater = zlib.decompressobj(_ANY_HEADER)
        try:
            body = inflater.decompress(raw, self.most + 1)
        except zlib.error:
            return raw
        return body if len(body) <= self.most else None


async def receive(response: Any, into: RawResponse) -> None:
    """Receive an httpx or httpx2 *response* into *into*, with as much of its body as that wants."""
    into.headers = response.headers
    into.status_code = response.status_code
    # A test transport may already have read, and so decoded, its response.
    into.is_encoded = not response.is_stream_consumed
    chunks = response.aiter_raw() if into.is_encoded else response.aiter_bytes()
    # Not a break, which would leave the generators to the garbage collector.
    with anyio.CancelScope() as enough:
        async for chunk in chunks:
            if not enough.cancel_called and not into.add(chunk):
                enough.cancel()
    into.complete = True


@attrs.frozen(kw_only=True, eq=False)
class Attempt:
    """
    One request to a token endpoint.

    Attributes:
        requested_at: When it was sent (`Clock.monotonic`) ...
        wall: ... and the same by `Clock.wall`.
        began: When the first attempt of the call began (`Clock.monotonic`).
    """

    requested_at: float
    wall: float
    began: float


def read_response(response: RawResponse, attempt: Attempt, clock: Clock) -> Outcome:
    status = response.status_code
    if status in _REFUSALS:
        return _read_refusal(response)
    server_date = parse_http_date(response.headers.get("Date"))
    if may_pass(status):
        return Unavailable(
            reason=f"answered {_status_line(status)}",
            status_code=status,
            retry_after=parse_retry_after(
                response.headers.get("Retry-After"),
                now=clock.wall() if server_date is None else server_date,
            ),
            not_processed=status == _NOT_PROCESSED,
        )
    body = response.body()
    if body is None:
        return Malformed(status_code=status, excerpt="more than 1 MiB")
    decoded = decode_token(body) if response.is_success else Undecodable(describe(body))
    if isinstance(decoded, Undecodable):
        return Malformed(status_code=status, excerpt=decoded.excerpt, is_the_apis=is_json(body))
    for name in decoded.unreadable:
        LOG.warning("token response: %s is not a timestamp, so it counts as missing", name)
    return _issued(decoded.token, attempt, clock, server_date)


def _read_refusal(response: RawResponse) -> Outcome:
    """Distinguish refusals by the API from pages of firewalls and proxies with the same status."""
    status = response.status_code
    if not response.complete:
        return Unavailable(
            reason=f"answered {_status_line(status)}, but the body was cut off", status_code=status
        )
    body = response.body() or b""
    is_refusal = not response.is_html if status == HTTPStatus.BAD_REQUEST else is_json(body)
    if is_refusal:
        return Refused(status_code=status)
    return Malformed(status_code=status, excerpt=describe(body))


def _issued(token: Token, attempt: Attempt, clock: Clock, server_date: float | None) -> Issued:
    def lifetime(expires_at: datetime | None) -> float | None:
        return None if expires_at is None else expires_at.timestamp() - sent_at

    now = clock.monotonic()
    sent_at = time_of_sending(
        None if token.expires_at is None else token.expires_at.timestamp(),
        sent_at=attempt.wall,
        # Not by the wall clock, which may have been set meanwhile.
        received_at=attempt.wall + now - attempt.requested_at,
        server_date=server_date,
    )
    refresh_expires_at = token.refresh_expires_at
    if refresh_expires_at is not None and refresh_expires_at.year == 1:
        # ASP.NET writes 0001-01-01 for a date that was never set.
        refresh_expires_at = None
    return Issued(
        token=token,
        lifetime=lifetime(token.expires_at),
        refresh_lifetime=lifetime(refresh_expires_at),
        requested_at=attempt.requested_at,
        elapsed=now - attempt.began,
    )


def _status_line(status_code: int) -> str:
    try:
        return f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        return str(status_code)
