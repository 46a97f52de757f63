"""
OpenTelemetry spans and metrics, made from the events that listeners receive.

Needs the extra: `pip install "taxizer-async[otel]"`. That is the API of OpenTelemetry only; without an
SDK, nothing is recorded. No token is seen here.

Each span is a root, and is made after the fact, from the times in an event, in the task that listeners run
in. Live spans would put a tracer into the critical path of each exchange. For the same reason the spans
that an instrumentation of the HTTP library makes of an exchange are not children of these.
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

#: Seconds, as in the semantic conventions for HTTP clients.
_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
_FIRST_ERROR: Final = 400


class WatchedAuth(Protocol):
    """What telemetry reads of an auth: any `TaxizerAuth` will do."""

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        ...

    def status(self) -> AuthStatus:
        """Return the state of the token."""
        ...


AuthT = TypeVar("AuthT", bound=WatchedAuth)


@final
class TaxizerTelemetry:
    """
    The instruments: make one per meter provider, and a hook of it for each auth.

    ```python
    telemetry = TaxizerTelemetry()
    hook = telemetry.hook()
    auth = hook.bind(TaxizerAuth(credentials, on_event=hook))
    ```

    Spans (all INTERNAL): `taxizer.connect`, `taxizer.refresh`, `taxizer.lease.wait`.

    | metric | kind, unit | attributes besides those of the auth |
    |---|---|---|
    | `taxizer.exchanges` | counter, `{exchange}` | kind and outcome of the exchange, `error.type`, `http.response.status_code` |
    | `taxizer.exchange.duration` | histogram, `s` | the same |
    | `taxizer.token.wait.duration` | histogram, `s` | |
    | `taxizer.lease.wait.duration` | histogram, `s` | `taxizer.lease.wait.outcome` |
    | `taxizer.token.expires_in` | observable gauge, `s` | |
    | `taxizer.token.adoptions` | counter, `{adoption}` | |
    | `taxizer.token.refusals` | counter, `{refusal}`: tokens that a 401 refused, each counted once | `taxizer.token.renewing` |
    | `taxizer.store.failures` | counter, `{failure}`: how often the store began to fail | `taxizer.store.operation` |

    Args:
        tracer_provider: For spans; the global one by default.
        meter_provider: For metrics; the global one by default.
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
            name: Distinguishes auths of the same API, as the attribute `taxizer.auth.name`.
            then: Your own hook. It receives each event first; if it raises, the event is still recorded.
        """
        return AuthTelemetry(self, name=name, then=then)

    def watch(self, hook: AuthTelemetry) -> None:
        """Show the auth of *hook* in the gauge for as long as it exists."""
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
        #: Attributes of all spans and metrics of this auth.
        self.attributes: Mapping[str, str | int] = (
            {} if name is None else {"taxizer.auth.name": name}
        )

    def bind(self, auth: AuthT) -> AuthT:
        """
        Show the remaining life of the token of *auth*, add its server to all attributes, and return *auth*.

        Raises:
            ConfigurationError: If this hook already has an auth.
        """
        if self._auth is not None:
            msg = "an AuthTelemetry is of one auth: make another with TaxizerTelemetry.hook()"
            raise ConfigurationError(msg)
        self._auth = weakref.ref(auth)
        self.attributes = {**self.attributes, **_server(auth.base_url)}
        self._telemetry.watch(self)
        return auth

    def expires_in(self) -> float | None:
        """Return the seconds until the token expires; None without a token or an auth."""
        auth = None if self._auth is None else self._auth()
        return None if auth is None else auth.status().expires_in

    def __call__(self, event: Event) -> Awaitable[None] | None:
        """Pass *event* to the user's own hook, and record it."""
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
    """A login or renewal that has ended; *error* names the class of its error, None after success."""

    kind: ExchangeKind
    elapsed: float
    at: datetime
    error: str | None = None
    reason: str | None = None
    status_code: int | None = None

    def attributes(self) -> dict[str, str | int]:
        """Return its attributes: only those with a bounded number of values, so no free text."""
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
    """Return the exchange whose end *event* reports, if it reports one."""
    match event:
        case events.LoggedIn():
            return _Exchange(kind="connect", elapsed=event.elapsed, at=event.at)
        case events.Renewed():
            return _Exchange(kind="refresh", elapsed=event.elapsed, at=event.at)
        case events.RefreshRefused():
            kind: ExchangeKind | None = "refresh"
        case events.ExchangeFailed():
            kind = event.kind
        case _:
            return None
    if kind is None:
        return None
    return _Exchange(
        kind=kind,
        elapsed=event.elapsed,
        at=event.at,
        error=event.error,
        reason=event.reason,
        status_code=event.status_code,
    )


def _span_times(at: datetime, elapsed: float) -> tuple[int, int]:
    """Return the start and the end, in epoch nanoseconds."""
    return _nanoseconds(at - timedelta(seconds=elapsed)), _nanoseconds(at)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000


def _server(base_url: str) -> dict[str, str | int]:
    url = urlsplit(base_url)
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    found: dict[str, str | int] = {"server.address": url.hostname or ""}
    return found if port is None else {**found, "server.port": port}
