"""
The two HTTP calls, Connect and AppRefreshToken: one request each, retried where that is safe.

Each exchange runs over an HTTP client of its own, opened and closed around it. No state is kept, no
redirect is followed, and no exception leaves but cancellation.
"""

from __future__ import annotations

import functools
import inspect
import logging

from collections.abc import Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import anyio
import attrs

from taxizer_async._core.codec import (
    Undecodable,
    decode_token,
    describe,
    encode_credentials,
    encode_refresh_token,
    is_json,
)
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.exchange import Issued, Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._core.policy import time_of_sending
from taxizer_async._core.threads import AbandonableCalls, TooManyCallsError, lacks_thread
from taxizer_async._http.headers import parse_http_date, parse_retry_after
from taxizer_async._http.library import LoginClients
from taxizer_async._http.network_errors import describe_network_error, is_about_certificate
from taxizer_async._http.response import RawResponse, receive
from taxizer_async._http.urls import endpoint_url
from taxizer_async._version import __version__


if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.exchange import Outcome, RetryBudget
    from taxizer_async._core.models import Credentials, Token
    from taxizer_async._core.policy import RenewalPolicy
    from taxizer_async._core.secret import Secret
    from taxizer_async._http.library import HttpLibrary


#: Paths of the API reference, pages "Auth/Connect" and "Auth/AppRefreshToken".
CONNECT_PATH: Final = "/v1/Auth/Connect"
REFRESH_PATH: Final = "/v1/Auth/AppRefreshToken"

_REFUSALS: Final = frozenset({400, 401, 403})
_TRY_LATER: Final = frozenset({408, 429})
# A gateway's 503 may well come after the server took the request.
_NOT_PROCESSED: Final = HTTPStatus.TOO_MANY_REQUESTS
#: So many calls of http_client may hang.
_MOST_CALLS: Final = 4

_log: Final = logging.getLogger("taxizer_async")

#: The client is one of the library that the exchange is made with.
HttpClientFactory: TypeAlias = Callable[[], Any]


@attrs.frozen(eq=False, repr=False)
class _Call:
    """One of the two requests."""

    path: str
    encode: Callable[[], bytes]


@attrs.frozen(kw_only=True, eq=False)
class _Asked:
    """When a request was sent, by both clocks, and when the first of its tries was."""

    at: float
    wall: float
    began: float


class _NoClientError(Exception):
    """There is no HTTP client for the moment; the text says why."""


@final
class _Progress:
    """
    How far a request has come, as httpcore's trace tells; other transports tell nothing.

    Attributes:
        has_client: Whether there is a client to send it with.
    """

    __slots__ = ("_has_left", "_is_told", "has_client")

    def __init__(self) -> None:
        self.has_client = False
        self._is_told = False
        self._has_left = False

    async def __call__(self, event: str, _info: object) -> None:
        self._is_told = True
        if event.endswith("send_request_headers.started"):
            self._has_left = True

    @property
    def never_left(self) -> bool:
        """Whether certainly no byte of the request was sent."""
        return self._is_told and not self._has_left


@final
class HttpExchange:
    """
    Asks the token endpoints under *base_url*; see the `Exchange` protocol.

    Args:
        base_url: From `parse_base_url`.
        policy: How often and how long to try.
        clock: For lifetimes and the waits between tries.
        random: Numbers in [0, 1), for jitter.
        library: Whose clients are used.
        http_client: Returns a fresh one for each exchange; None for the default one.
    """

    __slots__ = (
        "_base_url",
        "_calls",
        "_clock",
        "_is_own",
        "_library",
        "_make",
        "_policy",
        "_random",
    )

    def __init__(
        self,
        *,
        base_url: httpx.URL,
        policy: RenewalPolicy,
        clock: Clock,
        random: Callable[[], float],
        library: HttpLibrary,
        http_client: HttpClientFactory | None,
    ) -> None:
        self._base_url = base_url
        self._policy = policy
        self._clock = clock
        self._random = random
        self._library = library
        self._make: HttpClientFactory = (
            LoginClients(library, {}) if http_client is None else http_client
        )
        self._is_own = isinstance(self._make, LoginClients)
        self._calls = AbandonableCalls(_MOST_CALLS)

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in at Connect; try again until the time is over, where that may help."""
        encode = functools.partial(encode_credentials, credentials)
        began = self._clock.monotonic()
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(_Call(CONNECT_PATH, encode), budget, began)
            if not _may_pass(outcome) or not budget.wants_more():
                return outcome
            retry_after = outcome.retry_after if isinstance(outcome, Unavailable) else None
            wait = self._policy.retry_wait(attempt, self._random(), retry_after)
            if self._clock.monotonic() + wait >= budget.deadline:
                return outcome
            await self._clock.sleep(wait)

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        """Renew at AppRefreshToken, in one attempt."""
        encode = functools.partial(encode_refresh_token, refresh_token)
        return await self._attempt(
            _Call(REFRESH_PATH, encode), budget, began=self._clock.monotonic()
        )

    async def _attempt(self, call: _Call, budget: RetryBudget, began: float) -> Outcome:
        outcome = await self._ask(call, budget, began) or await self._ask(call, budget, began)
        return outcome or Unavailable(reason="its connection was given up", not_processed=True)

    async def _ask(self, call: _Call, budget: RetryBudget, began: float) -> Outcome | None:
        """
        Ask once; return None if the request was disturbed before it left.

        An event loop that ends cancels the tasks that open a connection, but not the one that this
        runs in.
        """
        asked = _Asked(at=self._clock.monotonic(), wall=self._clock.wall(), began=began)
        seconds = min(self._policy.attempt_timeout, budget.deadline - asked.at)
        if seconds <= 0:
            return Unavailable(reason="there was no time left to ask it", not_processed=True)
        answer, progress = RawResponse(), _Progress()
        problem: Outcome = Unavailable(reason=f"no answer within {seconds:.3g} s")
        with anyio.move_on_after(seconds) as scope:
            try:
                await self._send(call, answer, progress)
            except ConfigurationError as cause:
                return Misconfigured(reason=str(cause))
            except _NoClientError as cause:
                problem = Unavailable(reason=str(cause), not_processed=True)
            except self._library.never_sent as cause:
                self._note_certificate(cause)
                problem = Unavailable(reason=_describe(cause), not_processed=True)
            except Exception as cause:  # noqa: BLE001 - whatever a transport raises
                if lacks_thread(cause):
                    reason = f"{_describe(cause)}, and one has to look a host name up"
                    problem = Unavailable(reason=reason, not_processed=progress.never_left)
                elif progress.never_left and not isinstance(cause, self._library.transport_error):
                    return None
                else:
                    problem = Unavailable(reason=_describe(cause))
        if scope.cancelled_caught and not progress.has_client:
            return Unavailable(
                reason=self._describe_delay(f"within {seconds:.3g} s"), not_processed=True
            )
        return self._read(answer, asked) if answer.is_usable else problem

    async def _send(self, call: _Call, answer: RawResponse, progress: _Progress) -> None:
        async with AsyncExitStack() as stack:
            client = await self._open(stack)
            progress.has_client = True
            client.event_hooks = {}
            request = client.build_request(
                "POST",
                str(endpoint_url(self._base_url, call.path)),
                content=call.encode(),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                    "User-Agent": f"taxizer-async/{__version__}",
                },
                timeout=self._library.timeout(
                    self._policy.attempt_timeout, connect=self._policy.connect_timeout
                ),
                extensions={"trace": progress},
            )
            # Not documented as wanted, so a default of the client's is not sent.
            request.headers.pop("Authorization", None)
            response = await client.send(request, stream=True, auth=None, follow_redirects=False)
            stack.push_async_callback(response.aclose)
            await receive(response, answer)

    async def _open(self, stack: AsyncExitStack) -> Any:
        # In a thread, as a client reads the CA bundle, which takes tens of milliseconds.
        try:
            client = await self._calls.run(self._make, needs_thread=False)
        except TooManyCallsError as cause:
            raise _NoClientError(self._describe_delay(f"in {cause.calls} earlier calls")) from None
        except (Exception, SystemExit) as cause:  # noqa: BLE001 - a factory is the user's, proxy variables too
            is_passing = isinstance(cause, (OSError, MemoryError)) or lacks_thread(cause)
            problem = f"raised {_describe(cause) if is_passing else type(cause).__name__}"
        else:
            is_passing = False
            if not self._library.is_client(client):
                if inspect.iscoroutine(client):
                    client.close()
                problem = f"returned {type(client).__name__}"
            elif client.is_closed:
                problem = "returned a closed client"
            else:
                try:
                    return await stack.enter_async_context(client)
                except RuntimeError:
                    problem = "returned a client that is in use"
        if is_passing:
            raise _NoClientError(self._describe_problem(problem))
        if self._is_own:
            advice = "check the proxy and SSL variables"
        else:
            advice = f"it must return a fresh {self._library.name}.AsyncClient for each exchange"
        msg = f"{self._describe_problem(problem)}: {advice}"
        raise ConfigurationError(msg)

    def _describe_problem(self, problem: str) -> str:
        if self._is_own:
            return f"no HTTP client could be made ({problem})"
        return f"http_client {problem}"

    def _describe_delay(self, during: str) -> str:
        if self._is_own:
            return f"no HTTP client could be made {during}"
        return f"http_client returned nothing {during}"

    def _note_certificate(self, error: Exception) -> None:
        if isinstance(self._make, LoginClients) and is_about_certificate(error):
            self._make.tls.doubt()

    def _read(self, answer: RawResponse, asked: _Asked) -> Outcome:
        status = answer.status_code
        if status in _REFUSALS:
            return _read_refusal(answer)
        server_date = parse_http_date(answer.headers.get("Date"))
        if status in _TRY_LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(
                reason=f"answered {_named(status)}",
                status_code=status,
                retry_after=parse_retry_after(
                    answer.headers.get("Retry-After"),
                    now=self._clock.wall() if server_date is None else server_date,
                ),
                not_processed=status == _NOT_PROCESSED,
            )
        body = answer.body()
        if body is None:
            return Malformed(status_code=status, excerpt="more than 1 MiB")
        decoded = decode_token(body) if answer.is_success else Undecodable(describe(body))
        if isinstance(decoded, Undecodable):
            return Malformed(status_code=status, excerpt=decoded.excerpt, is_the_apis=is_json(body))
        for name in decoded.unreadable:
            _log.warning("%s is not a timestamp, and taken as missing", name)
        return self._issued(decoded.token, asked, server_date)

    def _issued(self, token: Token, asked: _Asked, server_date: float | None) -> Issued:
        def life(expires_at: datetime | None) -> float | None:
            return None if expires_at is None else expires_at.timestamp() - sent_at

        now = self._clock.monotonic()
        sent_at = time_of_sending(
            None if token.expires_at is None else token.expires_at.timestamp(),
            sent_at=asked.wall,
            # Not by the wall clock, which may have been set meanwhile.
            received_at=asked.wall + now - asked.at,
            server_date=server_date,
        )

        return Issued(
            token=token,
            lifetime=life(token.expires_at),
            refresh_lifetime=life(_unless_unset(token.refresh_expires_at)),
            requested_at=asked.at,
            elapsed=now - asked.began,
        )


def _read_refusal(answer: RawResponse) -> Outcome:
    """Read an answer with a status of the API's refusals, which firewalls and proxies use, too."""
    status = answer.status_code
    if not answer.complete:
        return Unavailable(reason=f"answered {_named(status)}, cut off", status_code=status)
    body = answer.body() or b""
    is_refusal = not answer.is_html if status == HTTPStatus.BAD_REQUEST else is_json(body)
    if is_refusal:
        return Refused(status_code=status)
    return Malformed(status_code=status, excerpt=describe(body))


def _may_pass(outcome: Outcome) -> bool:
    """Return whether another attempt may come to something else."""
    if isinstance(outcome, Malformed):
        return not outcome.is_the_apis
    return isinstance(outcome, Unavailable)


def _describe(error: BaseException) -> str:
    if lacks_thread(error):
        return f"{type(error).__name__} (no thread can be started)"
    return describe_network_error(error)


def _unless_unset(moment: datetime | None) -> datetime | None:
    # ASP.NET writes 0001-01-01 for a date that nobody set.
    return None if moment is None or moment.year == 1 else moment


def _named(status_code: int) -> str:
    try:
        return f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        return str(status_code)
