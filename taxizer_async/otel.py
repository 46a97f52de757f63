"""
OpenTelemetry spans and metrics, made from the events that listeners receive.

Needs the extra: `pip install "taxizer-async[otel]"`. That is only the API of OpenTelemetry; without an SDK,
nothing is recorded. No token gets here.

```python
auth = TaxizerTelemetry().instrument(TaxizerAuth(credentials))
```

Each login and renewal is then a span, begun and ended around the exchange, so the spans that an
instrumentation of the HTTP library makes of its requests are children of it. It belongs to no request, so
it is the root of a trace.

With a hook as *on_event* instead, nothing is done while an exchange runs: its span is made afterwards from
the times in the event, and those of the HTTP library are roots beside it.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Token
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias, TypeVar, final
from urllib.parse import urlsplit

from taxizer_async._auth.base import AuthBase, bearer_of
from taxizer_async._core import events
from taxizer_async._core.errors import (
    ConfigurationError,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from taxizer_async._core.event_log import EventHook
from taxizer_async._core.events import Event, ExchangeKind
from taxizer_async._core.exchange import Issued, Malformed, Misconfigured, Outcome, Refused
from taxizer_async._core.models import AuthStatus
from taxizer_async._http.urls import DEFAULT_PORTS
from taxizer_async._version import __version__


try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ImportError as _missing:
    _msg = 'taxizer_async.otel needs opentelemetry-api: pip install "taxizer-async[otel]"'
    raise ImportError(_msg) from _missing


__all__ = ["AuthTelemetry", "TaxizerTelemetry", "WatchedAuth"]

_SCOPE: Final = "taxizer_async"

#: Seconds, as in the semantic conventions for HTTP clients.
_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)

_Failure: TypeAlias = events.RefreshRefused | events.ExchangeFailed
_Exchange: TypeAlias = events.LoggedIn | events.Renewed | _Failure


class WatchedAuth(Protocol):
    """The part of a `TaxizerAuth` that telemetry reads."""

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        ...

    def status(self) -> AuthStatus:
        """Return the state of the token."""
        ...


AuthT = TypeVar("AuthT", bound=WatchedAuth)
_AuthBaseT = TypeVar("_AuthBaseT", bound=AuthBase)


@final
class TaxizerTelemetry:
    """
    The instruments: make one per meter provider, and instrument each auth with it.

    ```python
    telemetry = TaxizerTelemetry()
    auth = telemetry.instrument(TaxizerAuth(credentials))
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
        self.exchange_duration: Final = _create_histogram(
            meter,
            "taxizer.exchange.duration",
            "Time that a login or renewal took, retries included.",
        )
        self.token_wait: Final = _create_histogram(
            meter, "taxizer.token.wait.duration", "Time that a caller waited for a new token."
        )
        self.lease_wait: Final = _create_histogram(
            meter,
            "taxizer.lease.wait.duration",
            "Time spent waiting for another client of the same store.",
        )
        self.adoptions: Final = meter.create_counter(
            "taxizer.token.adoptions", "{adoption}", "Tokens that were taken over from the store."
        )
        self.refusals: Final = meter.create_counter(
            "taxizer.token.refusals", "{refusal}", "Tokens that a 401 refused."
        )
        self.store_failures: Final = meter.create_counter(
            "taxizer.store.failures", "{failure}", "Times that the token store began to fail."
        )
        meter.create_observable_gauge(
            "taxizer.token.expires_in", [self._observe], "s", "Time until the token expires."
        )
        self._lock: Final = threading.Lock()
        self._hooks: Final[weakref.WeakSet[AuthTelemetry]] = weakref.WeakSet()
        self._instrumented: Final[weakref.WeakSet[AuthBase]] = weakref.WeakSet()

    def instrument(self, auth: _AuthBaseT, *, name: str | None = None) -> _AuthBaseT:
        """
        Record what happens to *auth* from now on, with a live span around each login and renewal; return it.

        Args:
            auth: Of httpx or httpx2; of a `TaxizerClient`, its `auth`.
            name: The attribute `taxizer.auth.name`, which distinguishes auths of the same API.

        Raises:
            ConfigurationError: If it is no `TaxizerAuth`, or this telemetry has instrumented it already.
        """
        exchange = bearer_of(auth).exchange
        with self._lock:
            if auth in self._instrumented:
                msg = "the auth is instrumented already"
                raise ConfigurationError(msg)
            self._instrumented.add(auth)
        hook = self.hook(name=name)
        hook.bind(auth)
        exchange.tracers = (*exchange.tracers, hook.begin_span)
        auth.add_listener(hook)
        return auth

    def hook(self, *, name: str | None = None, then: EventHook | None = None) -> AuthTelemetry:
        """
        Return the *on_event* of one auth.

        Args:
            name: The attribute `taxizer.auth.name`, which distinguishes auths of the same API.
            then: Your own hook. It receives each event first; if it raises, the event is still recorded.
        """
        return AuthTelemetry(self, name=name, then=then)

    def watch(self, hook: AuthTelemetry) -> None:
        """Show the auth of *hook* in the gauge as long as it exists."""
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
        self._has_live_spans = False
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
            msg = "an AuthTelemetry belongs to one auth: make another with TaxizerTelemetry.hook()"
            raise ConfigurationError(msg)
        self._auth = weakref.ref(auth)
        self.attributes = {**self.attributes, **_server(auth.base_url)}
        self._telemetry.watch(self)
        return auth

    def expires_in(self) -> float | None:
        """Return the seconds until the token expires; None without a token or an auth."""
        auth = None if self._auth is None else self._auth()
        return None if auth is None else auth.status().expires_in

    def begin_span(self, kind: ExchangeKind) -> Callable[[Outcome | None], None]:
        """Begin the span of an exchange in the running task; return what ends it."""
        # From now on none is made of an event.
        self._has_live_spans = True
        span = self._telemetry.tracer.start_span(
            f"taxizer.{kind}",
            context.Context(),
            SpanKind.INTERNAL,
            {**self.attributes, "taxizer.exchange.kind": kind},
        )
        return functools.partial(_end_span, span, context.attach(trace.set_span_in_context(span)))

    def __call__(self, event: Event) -> Awaitable[None] | None:
        """Pass *event* to the user's own hook, and record it."""
        answer = None
        try:
            answer = None if self._then is None else self._then(event)
        finally:
            if not inspect.isawaitable(answer):
                self._record(event)
        return self._record_after(answer, event) if inspect.isawaitable(answer) else None

    async def _record_after(self, answer: Awaitable[None], event: Event) -> None:
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
            case events.LoggedIn():
                self._record_exchange("connect", event)
            case events.Renewed() | events.RefreshRefused():
                self._record_exchange("refresh", event)
            case events.ExchangeFailed(kind=kind) if kind is not None:
                self._record_exchange(kind, event)
            case _:
                pass

    def _record_lease_wait(self, event: events.LeaseAwaited) -> None:
        attributes = {**self.attributes, "taxizer.lease.wait.outcome": event.outcome}
        self._telemetry.lease_wait.record(event.elapsed, attributes)
        self._record_span("taxizer.lease.wait", event, attributes)

    def _record_exchange(self, kind: ExchangeKind, event: _Exchange) -> None:
        failure = event if isinstance(event, _Failure) else None
        attributes = {
            **self.attributes,
            "taxizer.exchange.kind": kind,
            "taxizer.exchange.outcome": "failure" if failure else "success",
            **(_describe(failure) if failure else {}),
        }
        self._telemetry.exchanges.add(1, attributes)
        self._telemetry.exchange_duration.record(event.elapsed, attributes)
        if not self._has_live_spans:
            self._record_span(
                f"taxizer.{kind}", event, attributes, failed=failure.reason if failure else None
            )

    def _record_span(
        self,
        name: str,
        event: _Exchange | events.LeaseAwaited,
        attributes: Mapping[str, str | int],
        *,
        failed: str | None = None,
    ) -> None:
        start = _nanoseconds(event.at - timedelta(seconds=event.elapsed))
        span = self._telemetry.tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=attributes, start_time=start
        )
        if failed is not None:
            span.set_status(StatusCode.ERROR, failed)
        span.end(_nanoseconds(event.at))


def _create_histogram(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=_BUCKETS
    )


def _describe(failure: _Failure) -> dict[str, str | int]:
    """Return attributes with a bounded number of values, so no free text."""
    if failure.status_code is None:
        return {"error.type": failure.error}
    return {
        "http.response.status_code": failure.status_code,
        "error.type": _error_type(failure.status_code, failure.error),
    }


def _end_span(span: Span, attached: Token[Context], outcome: Outcome | None) -> None:
    context.detach(attached)
    is_success = isinstance(outcome, Issued)
    span.set_attribute("taxizer.exchange.outcome", "success" if is_success else "failure")
    if not isinstance(outcome, Issued):
        status_code = getattr(outcome, "status_code", None)
        if status_code is not None:
            span.set_attribute("http.response.status_code", status_code)
        span.set_attribute("error.type", _error_type(status_code, _error_of(outcome)))
        span.set_status(StatusCode.ERROR, getattr(outcome, "reason", None))
    span.end()


def _error_type(status_code: int | None, error: str) -> str:
    is_error = status_code is not None and status_code >= HTTPStatus.BAD_REQUEST
    return str(status_code) if is_error else error


def _error_of(outcome: Outcome | None) -> str:
    """Return the name of the error that *outcome*, which is no token, leads to."""
    if outcome is None:
        return "cancelled"
    if isinstance(outcome, Misconfigured):
        return ConfigurationError.__name__
    is_answer = isinstance(outcome, (Malformed, Refused))
    return (TokenResponseError if is_answer else TokenEndpointUnavailableError).__name__


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000


def _server(base_url: str) -> dict[str, str | int]:
    url = urlsplit(base_url)
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    found: dict[str, str | int] = {"server.address": url.hostname or ""}
    return found if port is None else {**found, "server.port": port}
