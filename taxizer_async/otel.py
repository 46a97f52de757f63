"""
What happens to the token as OpenTelemetry spans and metrics, made of the events that listeners get.

Needs the extra: `pip install "taxizer-async[otel]"`, which is the API only; without an SDK all of it does
nothing. Here it is decided what things are called, and nothing else: no token is seen or asked for.

Spans are made afterwards, from the times in the events, in the task that listeners run in: each is a root.
A live span would have to be opened by the core around each exchange, with hooks of a tracer's in its
critical path. So those that an instrumentation of the HTTP library makes of the same exchange are no
children of these.
"""

from __future__ import annotations

import inspect
import threading
import weakref

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, final
from urllib.parse import urlsplit

import attrs

from taxizer_async._core import events
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.events import ExchangeKind
from taxizer_async._http.urls import DEFAULT_PORTS
from taxizer_async._version import __version__


try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ImportError as _missing:
    _msg = 'taxizer_async.otel needs opentelemetry-api: pip install "taxizer-async[otel]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import TracerProvider

    from taxizer_async._core.event_log import EventHook
    from taxizer_async._core.events import Event
    from taxizer_async._core.models import AuthStatus


__all__ = ["AuthTelemetry", "TaxizerTelemetry", "WatchedAuth"]

_SCOPE: Final = "taxizer_async"

#: Seconds; those of the convention for HTTP clients, as this is mostly waiting for one.
_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
_FIRST_ERROR: Final = 400


class WatchedAuth(Protocol):
    """What is looked at of an auth: a `TaxizerAuth` of any HTTP library."""

    @property
    def base_url(self) -> str:
        """Where the API is."""
        ...

    def status(self) -> AuthStatus:
        """Return what can be said of the token now."""
        ...


AuthT = TypeVar("AuthT", bound=WatchedAuth)


@final
class TaxizerTelemetry:
    """
    The instruments; make one per meter provider, and of it a hook for each auth.

    ```python
    telemetry = TaxizerTelemetry()
    hook = telemetry.hook()
    auth = hook.bind(TaxizerAuth(credentials, on_event=hook))
    ```

    Spans (all INTERNAL): `taxizer.connect`, `taxizer.refresh`, `taxizer.lease.wait`.

    | metric | kind, unit | attributes beside those of the auth |
    |---|---|---|
    | `taxizer.exchanges` | counter, `{exchange}` | kind and outcome of the exchange, `error.type`, `http.response.status_code` |
    | `taxizer.exchange.duration` | histogram, `s` | the same |
    | `taxizer.token.wait.duration` | histogram, `s` | |
    | `taxizer.lease.wait.duration` | histogram, `s` | `taxizer.lease.wait.outcome` |
    | `taxizer.token.expires_in` | observable gauge, `s` | |
    | `taxizer.token.adoptions` | counter, `{adoption}` | |
    | `taxizer.token.refusals` | counter, `{refusal}`: tokens that were answered 401, each once | `taxizer.token.renewing` |
    | `taxizer.store.failures` | counter, `{failure}`: times that the store began to fail | `taxizer.store.operation` |

    Args:
        tracer_provider: Where spans go; the global one by default.
        meter_provider: Where metrics go; the global one by default.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
        self.tracer: Final = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self.exchanges: Final = meter.create_counter(
            "taxizer.exchanges", "{exchange}", "Logins and renewals that were tried."
        )
        self.exchange_duration: Final = meter.create_histogram(
            "taxizer.exchange.duration",
            "s",
            "What a login or renewal took, retries included.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.token_wait: Final = meter.create_histogram(
            "taxizer.token.wait.duration",
            "s",
            "What a caller waited for a new token.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.lease_wait: Final = meter.create_histogram(
            "taxizer.lease.wait.duration",
            "s",
            "What was waited for another client of the same store.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self.adoptions: Final = meter.create_counter(
            "taxizer.token.adoptions", "{adoption}", "Tokens that were taken over from the store."
        )
        self.refusals: Final = meter.create_counter(
            "taxizer.token.refusals", "{refusal}", "Tokens that were answered 401."
        )
        self.store_failures: Final = meter.create_counter(
            "taxizer.store.failures", "{failure}", "Times that the token store began to fail."
        )
        meter.create_observable_gauge(
            "taxizer.token.expires_in", [self._observe], "s", "What is left of the token's life."
        )
        self._lock: Final = threading.Lock()
        self._hooks: Final[weakref.WeakSet[AuthTelemetry]] = weakref.WeakSet()

    def hook(self, *, name: str | None = None, then: EventHook | None = None) -> AuthTelemetry:
        """
        Return the *on_event* of one auth.

        Args:
            name: Tells it from other auths of the same API, as the attribute `taxizer.auth.name`.
            then: Your own hook. It hears of each event first; what it raises loses no telemetry.
        """
        return AuthTelemetry(self, name=name, then=then)

    def watch(self, hook: AuthTelemetry) -> None:
        """Let the gauge show the auth of *hook* for as long as there is one."""
        with self._lock:
            self._hooks.add(hook)

    def _observe(self, _: CallbackOptions) -> Iterable[metrics.Observation]:
        with self._lock:
            hooks = tuple(self._hooks)
        for hook in hooks:
            expires_in = hook.expires_in()
            if expires_in is not None:
                yield metrics.Observation(expires_in, hook.attributes)


@final
class AuthTelemetry:
    """The *on_event* of one auth; made by `TaxizerTelemetry.hook`."""

    def __init__(
        self, telemetry: TaxizerTelemetry, *, name: str | None, then: EventHook | None
    ) -> None:
        self._telemetry = telemetry
        self._then = then
        self._auth: weakref.ref[WatchedAuth] | None = None
        #: What all spans and metrics of this auth have.
        self.attributes: Mapping[str, str | int] = (
            {} if name is None else {"taxizer.auth.name": name}
        )

    def bind(self, auth: AuthT) -> AuthT:
        """
        Show the life of the token of *auth*, and say which server all the rest is about; return *auth*.

        Raises:
            ConfigurationError: If it has one already.
        """
        if self._auth is not None:
            msg = "an AuthTelemetry is of one auth: make another with TaxizerTelemetry.hook()"
            raise ConfigurationError(msg)
        self._auth = weakref.ref(auth)
        self.attributes = {**self.attributes, **_server(auth.base_url)}
        self._telemetry.watch(self)
        return auth

    def expires_in(self) -> float | None:
        """Return the seconds that are left of the token's life; None if there is none."""
        auth = None if self._auth is None else self._auth()
        return None if auth is None else auth.status().expires_in

    def __call__(self, event: Event) -> Awaitable[None] | None:
        """Hand *event* to the user's own hook, and record it."""
        answer = None
        try:
            answer = None if self._then is None else self._then(event)
        finally:
            if not inspect.isawaitable(answer):
                self._record(event)
        return self._afterwards(answer, event) if inspect.isawaitable(answer) else None

    async def _afterwards(self, answer: Awaitable[None], event: Event) -> None:
        try:
            await answer
        finally:
            self._record(event)

    def _record(self, event: Event) -> None:
        telemetry, attributes = self._telemetry, self.attributes
        match event:
            case events.TokenAwaited(waits=waits):
                for wait in waits:
                    telemetry.token_wait.record(wait, attributes)
            case events.LeaseAwaited():
                self._record_lease_wait(event)
            case events.TokenRefused(renewing=renewing):
                telemetry.refusals.add(1, {**attributes, "taxizer.token.renewing": renewing})
            case events.StoreFailed(operation=operation):
                added = {"taxizer.store.operation": operation}
                telemetry.store_failures.add(1, {**attributes, **added})
            case events.Adopted():
                telemetry.adoptions.add(1, attributes)
            case _:
                exchange = _read(event)
                if exchange is not None:
                    self._record_exchange(exchange)

    def _record_lease_wait(self, event: events.LeaseAwaited) -> None:
        attributes = {**self.attributes, "taxizer.lease.wait.outcome": event.outcome}
        self._telemetry.lease_wait.record(event.elapsed, attributes)
        start, end = _span_times(event.at, event.elapsed)
        self._telemetry.tracer.start_span(
            "taxizer.lease.wait", kind=SpanKind.INTERNAL, attributes=attributes, start_time=start
        ).end(end)

    def _record_exchange(self, exchange: _Exchange) -> None:
        attributes = {**self.attributes, **exchange.attributes()}
        self._telemetry.exchanges.add(1, attributes)
        self._telemetry.exchange_duration.record(exchange.elapsed, attributes)
        start, end = _span_times(exchange.at, exchange.elapsed)
        span = self._telemetry.tracer.start_span(
            f"taxizer.{exchange.kind}",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=start,
        )
        if exchange.error is not None:
            span.set_status(StatusCode.ERROR, exchange.reason)
        span.end(end)


@attrs.frozen(kw_only=True)
class _Exchange:
    """A login or a renewal that is over; *error* is the class of what was wrong, None if it was well."""

    kind: ExchangeKind
    elapsed: float
    at: datetime
    error: str | None = None
    reason: str | None = None
    status_code: int | None = None

    def attributes(self) -> dict[str, str | int]:
        """Return what is said of it beside its times; no text that has no end of values."""
        outcome = "success" if self.error is None else "failure"
        found: dict[str, str | int] = {
            "taxizer.exchange.kind": self.kind,
            "taxizer.exchange.outcome": outcome,
        }
        if self.status_code is not None:
            found["http.response.status_code"] = self.status_code
        if self.error is not None:
            is_error = (self.status_code or 0) >= _FIRST_ERROR
            found["error.type"] = str(self.status_code) if is_error else self.error
        return found


def _read(event: Event) -> _Exchange | None:
    """Return the exchange that *event* tells the end of."""
    match event:
        case events.LoggedIn():
            return _Exchange(kind="connect", elapsed=event.elapsed, at=event.at)
        case events.Renewed():
            return _Exchange(kind="refresh", elapsed=event.elapsed, at=event.at)
        case events.RefreshRefused(status_code=status):
            unanswered = "TokenEndpointUnavailableError"
            return _Exchange(
                kind="refresh",
                elapsed=event.elapsed,
                at=event.at,
                error=unanswered if status is None else "TokenResponseError",
                reason=event.reason,
                status_code=status,
            )
        case events.ExchangeFailed(kind=kind) if kind is not None:
            return _Exchange(
                kind=kind,
                elapsed=event.elapsed,
                at=event.at,
                error=event.error,
                reason=event.reason,
                status_code=event.status_code,
            )
        case _:
            return None


def _span_times(at: datetime, elapsed: float) -> tuple[int, int]:
    """Return when it began and ended, in epoch nanoseconds."""
    return _nanoseconds(at - timedelta(seconds=elapsed)), _nanoseconds(at)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000


def _server(base_url: str) -> dict[str, str | int]:
    url = urlsplit(base_url)
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    found: dict[str, str | int] = {"server.address": url.hostname or ""}
    return found if port is None else {**found, "server.port": port}
