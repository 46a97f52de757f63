"""
The two HTTP calls, Connect and AppRefreshToken: one request each, retried where that is safe.

Each request has a new HTTP client, which is closed at its end. It follows no redirect, and raises nothing
but cancellation.
"""

from __future__ import annotations

import contextlib
import functools
import inspect

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeGuard, TypeVar, final

import anyio
import attrs
import httpx

from taxizer_async._core.clock import FROZEN, Clock, is_frozen
from taxizer_async._core.codec import encode_credentials, encode_refresh_token
from taxizer_async._core.events import ExchangeKind
from taxizer_async._core.exchange import (
    NO_TIME,
    ExchangeTracer,
    Malformed,
    Misconfigured,
    Outcome,
    RetryBudget,
    Unavailable,
)
from taxizer_async._core.log_lines import LOG
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import RenewalPolicy, is_time_for_attempt
from taxizer_async._core.secret import Secret
from taxizer_async._core.threads import AbandonableCalls, TooManyCallsError, lacks_thread
from taxizer_async._http.library import MOST_LOGINS, HttpClientFactory, HttpLibrary, LoginClients
from taxizer_async._http.network_errors import describe_network_error, is_about_certificate
from taxizer_async._http.response import Attempt, RawResponse, read_response, receive
from taxizer_async._http.urls import endpoint_url
from taxizer_async._version import __version__


T = TypeVar("T")

#: Paths of the API reference, pages "Auth/Connect" and "Auth/AppRefreshToken".
CONNECT_PATH: Final = "/v1/Auth/Connect"
REFRESH_PATH: Final = "/v1/Auth/AppRefreshToken"

#: How many calls of http_client may hang at a time.
_MOST_CALLS: Final = 4
_NO_TIME: Final = Unavailable(reason=NO_TIME, not_processed=True)


@attrs.frozen
class _Call:
    """One of the two calls; its first attempt *began* then (`Clock.monotonic`)."""

    path: str
    encode: Callable[[], bytes]
    began: float


@attrs.define(eq=False)
class _Progress:
    """
    How far a request has come, by httpcore's trace events; other transports send none.

    Attributes:
        has_client: Whether its client was made.
    """

    has_client: bool = False
    _is_traced: bool = False
    _has_left: bool = False

    async def __call__(self, event: str, _info: object) -> None:
        self._is_traced = True
        if event.endswith("send_request_headers.started"):
            self._has_left = True

    @property
    def never_left(self) -> bool:
        """Whether it is certain that no byte of the request was sent."""
        return self._is_traced and not self._has_left


@final
class HttpExchange:
    """
    Asks the token endpoints under *base_url*; see the `Exchange` protocol.

    *random* returns numbers in [0, 1), for jitter; *http_client* a new client for each request.

    Attributes:
        tracers: Each is told when a call begins and ends, in the task that makes the call.
    """

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
        self._limit = library.login_limit(str(base_url))
        self._policy = policy
        self._clock = clock
        self._random = random
        self._library = library
        self._make: HttpClientFactory = (
            LoginClients(library, {}) if http_client is None else http_client
        )
        self._is_own = isinstance(self._make, LoginClients)
        self._calls = AbandonableCalls(_MOST_CALLS)
        self.tracers: tuple[ExchangeTracer, ...] = ()

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in at Connect; retry where that may help, until the deadline."""
        encode = functools.partial(encode_credentials, credentials)
        call = _Call(CONNECT_PATH, encode, self._clock.monotonic())
        return await traced("connect", self.tracers, self._connect(call, budget))

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        """Renew at AppRefreshToken, in one attempt."""
        encode = functools.partial(encode_refresh_token, refresh_token)
        call = _Call(REFRESH_PATH, encode, self._clock.monotonic())
        return await traced("refresh", self.tracers, self._attempt(call, budget))

    async def _connect(self, call: _Call, budget: RetryBudget) -> Outcome:
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(call, budget)
            if not _may_pass(outcome) or not budget.wants_more(outcome):
                return outcome
            retry_after = outcome.retry_after if isinstance(outcome, Unavailable) else None
            wait = self._policy.retry_wait(attempt, self._random(), retry_after)
            if not is_time_for_attempt(self._clock.monotonic() + wait, budget.deadline):
                return outcome
            if is_frozen(self._clock):
                return Misconfigured(reason=FROZEN)
            await self._clock.sleep(wait)

    async def _attempt(self, call: _Call, budget: RetryBudget) -> Outcome:
        place, left = self._limit.here(), budget.deadline - self._clock.monotonic()
        if left <= 0:
            return _NO_TIME
        with anyio.move_on_after(left) as scope:
            await place.acquire()
        if scope.cancelled_caught:
            reason = f"{MOST_LOGINS} other logins of this process have kept it waiting"
            return Unavailable(reason=reason, not_processed=True)
        try:
            outcome = await self._ask(call, budget) or await self._ask(call, budget)
        finally:
            place.release()
        return outcome or Unavailable(
            reason="the connection was closed before the request was sent", not_processed=True
        )

    async def _ask(self, call: _Call, budget: RetryBudget) -> Outcome | None:
        """
        Send the request once; return None if it was disturbed before it left.

        An event loop that ends cancels the tasks that open connections, but not the task that this runs
        in.
        """
        attempt = Attempt(
            requested_at=self._clock.monotonic(), wall=self._clock.wall(), began=call.began
        )
        seconds = min(self._policy.attempt_timeout, budget.deadline - attempt.requested_at)
        if seconds <= 0:
            return _NO_TIME
        response, progress = RawResponse(), _Progress()
        problem: Outcome | None = None
        with anyio.move_on_after(seconds) as scope:
            try:
                problem = await self._send(call, response, progress)
            except self._library.never_sent as cause:
                if isinstance(self._make, LoginClients) and is_about_certificate(cause):
                    self._make.tls.doubt()
                problem = Unavailable(reason=_describe(cause), not_processed=True)
            except Exception as cause:  # noqa: BLE001 - whatever a transport raises
                if lacks_thread(cause):
                    reason = f"{_describe(cause)}, and looking up a host name takes one"
                    problem = Unavailable(reason=reason, not_processed=progress.never_left)
                elif progress.never_left and not isinstance(
                    cause, self._library.module.TransportError
                ):
                    return None
                else:
                    problem = Unavailable(reason=_describe(cause))
        if scope.cancelled_caught and not progress.has_client:
            return Unavailable(
                reason=self._describe_delay(f"within {seconds:.3g} s"), not_processed=True
            )
        if response.is_usable:
            return read_response(response, attempt, self._clock)
        return problem or Unavailable(reason=f"no answer within {seconds:.3g} s")

    async def _send(
        self, call: _Call, into: RawResponse, progress: _Progress
    ) -> Misconfigured | Unavailable | None:
        """Send the request and receive the response, or return why there is no client to do so."""
        async with contextlib.AsyncExitStack() as stack:
            client = await self._open(stack)
            if isinstance(client, (Misconfigured, Unavailable)):
                return client
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
                timeout=self._library.module.Timeout(
                    self._policy.attempt_timeout, connect=self._policy.connect_timeout
                ),
                extensions={"trace": progress},
            )
            # The client may have a default for it, which is not meant for this server.
            request.headers.pop("Authorization", None)
            response = await client.send(request, stream=True, auth=None, follow_redirects=False)
            stack.push_async_callback(response.aclose)
            await receive(response, into)
        return None

    async def _open(self, stack: contextlib.AsyncExitStack) -> Any:
        """Return an open client, or why there is none."""
        is_passing, problem = False, None
        # In a thread, as reading the CA bundle takes tens of milliseconds.
        try:
            client = await self._calls.run(self._make, needs_thread=False)
        except TooManyCallsError as cause:
            reason = self._describe_delay(f"in {cause.calls} earlier calls")
            return Unavailable(reason=reason, not_processed=True)
        except (Exception, SystemExit) as cause:  # noqa: BLE001 - the factory and the proxy variables are the user's
            passing = OSError, MemoryError, SystemError
            is_passing = isinstance(cause, passing) or lacks_thread(cause)
            problem = f"raised {_describe(cause) if is_passing else type(cause).__name__}"
        else:
            problem = self._problem_of(client)
            if problem is None:
                problem = "returned a client that is in use"
                with contextlib.suppress(RuntimeError):
                    return await stack.enter_async_context(client)
        if self._is_own:
            reason = f"no HTTP client could be made ({problem})"
            advice = "check the proxy and SSL variables"
        else:
            reason = f"http_client {problem}"
            library = self._library.module.__name__
            advice = f"it must return a fresh {library}.AsyncClient for each exchange"
        if is_passing:
            return Unavailable(reason=reason, not_processed=True)
        return Misconfigured(reason=f"{reason}: {advice}")

    def _problem_of(self, client: Any) -> str | None:
        if isinstance(client, self._library.module.AsyncClient):
            return "returned a closed client" if client.is_closed else None
        if inspect.iscoroutine(client):
            client.close()
        return f"returned {type(client).__name__}"

    def _describe_delay(self, during: str) -> str:
        if self._is_own:
            return f"no HTTP client could be made {during}"
        return f"http_client returned nothing {during}"


async def traced(
    kind: ExchangeKind, tracers: tuple[ExchangeTracer, ...], call: Awaitable[Outcome]
) -> Outcome:
    """Return what *call* returns, and tell *tracers* of it; the last of them is inside the others."""
    ends = [_tried(functools.partial(tracer, kind)) for tracer in tracers]
    outcome: Outcome | None = None
    try:
        outcome = await call
        return outcome
    finally:
        for end in reversed(ends):
            if end is not None:
                _tried(functools.partial(end, outcome))


def _tried(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except Exception as cause:  # noqa: BLE001 - it is the user's, and fails no login
        problem = type(cause).__name__
    LOG.error("a login or renewal could not be traced: %s", problem)
    return None


def _may_pass(outcome: Outcome) -> TypeGuard[Unavailable | Malformed]:
    if isinstance(outcome, Malformed):
        return not outcome.is_the_apis
    return isinstance(outcome, Unavailable)


def _describe(error: BaseException) -> str:
    if lacks_thread(error):
        return f"{type(error).__name__} (no thread can be started)"
    return describe_network_error(error)
