"""
The two HTTP calls, Connect and AppRefreshToken: one request each, retried where that is safe.

Each exchange runs over an HTTP client of its own, opened and closed around it. No state is kept, no
redirect is followed, and no exception leaves but cancellation.
"""

from __future__ import annotations

import functools
import ipaddress
import logging

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, final

import anyio
import anyio.to_thread
import attrs
import httpx

from taxizer_async._codec import (
    Undecodable,
    decode_token,
    describe,
    encode_credentials,
    encode_refresh_token,
)
from taxizer_async._errors import ConfigurationError
from taxizer_async._headers import parse_http_date, parse_retry_after
from taxizer_async._outcomes import (
    Effort,
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    Unavailable,
)
from taxizer_async._policy import remaining_life
from taxizer_async._version import __version__


if TYPE_CHECKING:
    from datetime import datetime

    from taxizer_async._clock import Clock
    from taxizer_async._models import Credentials, Secret
    from taxizer_async._outcomes import Outcome
    from taxizer_async._policy import RenewalPolicy


#: Paths of the API reference, pages "Auth/Connect" and "Auth/AppRefreshToken".
CONNECT_PATH: Final = "/v1/Auth/Connect"
REFRESH_PATH: Final = "/v1/Auth/AppRefreshToken"
#: A token answer is a few KiB; whatever is longer is something else.
MAX_ANSWER: Final = 1024 * 1024

_REFUSALS: Final = frozenset({400, 401, 403})
_TRY_LATER: Final = frozenset({408, 429})
# Of what says "not now", these also say that the request was not looked at.
_UNTOUCHED: Final = frozenset({429, 503})
_NEVER_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_log: Final = logging.getLogger("taxizer_async")

HttpClientFactory: TypeAlias = Callable[[], httpx.AsyncClient]


def parse_base_url(base_url: str | httpx.URL) -> httpx.URL:
    """
    Return *base_url* as a URL without a trailing slash.

    Raises:
        ConfigurationError: If it is no URL, neither https nor loopback, or has parts that would be
            lost or logged.
    """
    try:
        url = httpx.URL(str(base_url).strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.userinfo:
        # Dropped before the frame can be captured with it.
        del url, base_url
        msg = "base_url holds a user name or password: leave them out"
        raise ConfigurationError(msg)
    if url.scheme not in ("http", "https") or not url.host:
        msg = f"base_url {str(base_url)!r} is no URL such as https://apistaging.taxizer.com"
        raise ConfigurationError(msg)
    if url.scheme == "http" and not is_loopback(url.host):
        msg = f"base_url {str(base_url)!r} must be https, as secrets are sent to it (http is for loopback)"
        raise ConfigurationError(msg)
    if url.query or url.fragment:
        msg = f"base_url {str(url.copy_with(query=None, fragment=None))!r} has a query or a fragment: leave it out"
        raise ConfigurationError(msg)
    path = url.path.rstrip("/")
    if path.endswith("/v1"):
        msg = f"base_url {str(base_url)!r} ends in /v1: leave it out, it is part of each path"
        raise ConfigurationError(msg)
    return url.copy_with(path=path or "/")


def endpoint_url(base_url: httpx.URL, path: str) -> httpx.URL:
    """Return the URL of *path* under *base_url*."""
    return base_url.copy_with(path=base_url.path.rstrip("/") + path)


def is_loopback(host: str) -> bool:
    """Say whether *host* is this machine, by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@attrs.frozen(eq=False, repr=False)
class _Call:
    """One of the two requests; *repeatable* says whether it may be sent again when in doubt."""

    path: str
    encode: Callable[[], bytes]
    repeatable: bool


@attrs.define(eq=False, repr=False)
class _Answer:
    """What has come in so far of one answer."""

    status_code: int = 0
    headers: httpx.Headers = attrs.field(factory=httpx.Headers)
    body: bytearray = attrs.field(factory=bytearray)
    complete: bool = False

    @property
    def usable(self) -> bool:
        """Whether the outcome can be told: a failure's status says enough."""
        return self.complete or (self.status_code != 0 and not _is_success(self.status_code))


@final
class HttpExchange:
    """
    Asks the token endpoints under *base_url*; see the `Exchange` protocol.

    Args:
        base_url: From `parse_base_url`.
        policy: How often and how long to try.
        clock: For lifetimes and the waits between tries.
        random: Numbers in [0, 1), for jitter.
        http_client: Returns a fresh client for each exchange; None for the default one.
    """

    __slots__ = ("_base_url", "_clock", "_http_client", "_policy", "_random")

    def __init__(
        self,
        *,
        base_url: httpx.URL,
        policy: RenewalPolicy,
        clock: Clock,
        random: Callable[[], float],
        http_client: HttpClientFactory | None,
    ) -> None:
        self._base_url = base_url
        self._policy = policy
        self._clock = clock
        self._random = random
        self._http_client = http_client

    async def connect(
        self,
        credentials: Credentials,
        effort: Effort,
        received: Callable[[Issued], None],
        /,
    ) -> Outcome:
        """Log in at Connect."""
        encode = functools.partial(encode_credentials, credentials)
        call = _Call(CONNECT_PATH, encode, repeatable=True)
        return await self._try(call, effort, received)

    async def refresh(
        self, refresh_token: Secret, effort: Effort, received: Callable[[Issued], None], /
    ) -> Outcome:
        """Renew at AppRefreshToken."""
        encode = functools.partial(encode_refresh_token, refresh_token)
        call = _Call(REFRESH_PATH, encode, repeatable=False)
        return await self._try(call, effort, received)

    async def _try(
        self, call: _Call, effort: Effort, received: Callable[[Issued], None]
    ) -> Outcome:
        began = self._clock.monotonic()
        attempt = 0
        while True:
            attempt += 1
            left = effort.deadline - anyio.current_time()
            if left <= 0:
                return Unavailable(reason="there was no time left to ask it", untouched=True)
            seconds = min(self._policy.attempt_timeout, left)
            outcome = await self._attempt(call, seconds, began, received)
            if not isinstance(outcome, Unavailable) or attempt >= effort.attempts:
                return outcome
            if not (call.repeatable or outcome.untouched):
                return outcome
            wait = self._policy.retry_wait(attempt, self._random(), outcome.retry_after)
            if anyio.current_time() + wait >= effort.deadline:
                return outcome
            await self._clock.sleep(wait)

    async def _attempt(
        self,
        call: _Call,
        seconds: float,
        began: float,
        received: Callable[[Issued], None],
    ) -> Outcome:
        asked_at, asked_wall = self._clock.monotonic(), self._clock.wall()
        answer = _Answer()
        problem = Unavailable(reason=f"no answer within {seconds:.3g} s")

        def read() -> Outcome:
            outcome = self._read(answer, asked_at, asked_wall, began)
            if isinstance(outcome, Issued):
                received(outcome)
            return outcome

        with anyio.move_on_after(seconds):
            try:
                await self._send(call, answer)
            except ConfigurationError as cause:
                return Misconfigured(reason=str(cause))
            except _NEVER_SENT as cause:
                problem = Unavailable(reason=f"{type(cause).__name__}: {cause}", untouched=True)
            except Exception as cause:  # noqa: BLE001 - whatever a transport raises
                # Its text may quote what was on the wire.
                problem = Unavailable(reason=type(cause).__name__)
            except BaseException as interruption:  # noqa: BLE001 - it is raised again
                if _is_success(answer.status_code):
                    read()
                # Frames and causes below here hold what was sent.
                interruption.__cause__ = interruption.__context__ = None
                raise interruption.with_traceback(None)  # noqa: B904
        return read() if answer.usable else problem

    async def _send(self, call: _Call, answer: _Answer) -> None:
        async with await self._open() as client:
            client.event_hooks = {}
            request = client.build_request(
                "POST",
                endpoint_url(self._base_url, call.path),
                content=call.encode(),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                    "User-Agent": f"taxizer-async/{__version__}",
                },
                timeout=httpx.Timeout(
                    self._policy.attempt_timeout, connect=self._policy.connect_timeout
                ),
            )
            # Not documented as wanted, so a default of the client's is not sent.
            request.headers.pop("Authorization", None)
            response = await client.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                await _receive(response, answer)
            finally:
                await response.aclose()

    async def _open(self) -> httpx.AsyncClient:
        if self._http_client is None:
            context = await anyio.to_thread.run_sync(_tls_context)
            return httpx.AsyncClient(verify=context)
        try:
            client = self._http_client()
        except Exception as cause:  # noqa: BLE001 - it is the user's
            problem = f"raised {type(cause).__name__}"
        else:
            if not isinstance(client, httpx.AsyncClient):
                problem = f"returned {type(client).__name__}"
            elif client.is_closed:
                problem = "returned a closed client"
            else:
                return client
        msg = f"http_client {problem}: it must return a fresh httpx.AsyncClient for each exchange"
        raise ConfigurationError(msg)

    def _read(self, answer: _Answer, asked_at: float, asked_wall: float, began: float) -> Outcome:
        status = answer.status_code
        server_date = parse_http_date(answer.headers.get("Date"))
        if status in _REFUSALS:
            return Refused(status_code=status)
        if status in _TRY_LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(
                reason=f"answered {_named(status)}",
                status_code=status,
                retry_after=parse_retry_after(
                    answer.headers.get("Retry-After"),
                    now=self._clock.wall() if server_date is None else server_date,
                ),
                untouched=status in _UNTOUCHED,
            )
        if len(answer.body) > MAX_ANSWER:
            return Malformed(status_code=status, excerpt="more than 1 MiB")
        body = bytes(answer.body)
        decoded = decode_token(body) if _is_success(status) else Undecodable(describe(body))
        if isinstance(decoded, Undecodable):
            return Malformed(status_code=status, excerpt=decoded.excerpt)
        for name in decoded.unreadable:
            _log.warning("%s is not a timestamp, and taken as missing", name)

        def life(expires_at: datetime | None) -> float | None:
            if expires_at is None:
                return None
            return remaining_life(
                expires_at.timestamp(),
                sent_at=asked_wall,
                received_at=self._clock.wall(),
                server_date=server_date,
            )

        token = decoded.token
        return Issued(
            token=token,
            lifetime=life(token.expires_at),
            refresh_lifetime=life(_unless_unset(token.refresh_expires_at)),
            asked_at=asked_at,
            asked_wall=asked_wall,
            elapsed=self._clock.monotonic() - began,
        )


async def _receive(response: httpx.Response, answer: _Answer) -> None:
    answer.headers = response.headers
    answer.status_code = response.status_code
    async for chunk in response.aiter_bytes():
        answer.body += chunk
        if len(answer.body) > MAX_ANSWER:
            break
    answer.complete = True


def _unless_unset(moment: datetime | None) -> datetime | None:
    # ASP.NET writes 0001-01-01 for a date that nobody set.
    return None if moment is None or moment.year == 1 else moment


def _is_success(status_code: int) -> bool:
    return HTTPStatus.OK <= status_code < HTTPStatus.MULTIPLE_CHOICES


def _named(status_code: int) -> str:
    try:
        return f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        return str(status_code)


# Reading the CA bundle takes tens of milliseconds, so once per process and off the loop.
_tls_context = functools.cache(httpx.create_ssl_context)
