"""What users write for telemetry and in their tests, for the type checkers: this file is never run."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Literal, assert_type

import httpx2

from taxizer_async import (
    Credentials,
    Event,
    ExchangeFailed,
    LeaseAwaited,
    LoggedIn,
    TaxizerAuth,
    TaxizerClient,
    TokenAwaited,
)
from taxizer_async.httpx2 import TaxizerAuth as TaxizerAuth2
from taxizer_async.otel import AuthTelemetry, TaxizerTelemetry
from taxizer_async.testing import ManualClock, Sandbox, token_response


if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


async def own_hook(event: Event) -> None:
    if isinstance(event, TokenAwaited):
        assert_type(event.waits, tuple[float, ...])
        assert_type(event.callers, int)
    if isinstance(event, LeaseAwaited):
        assert_type(event.outcome, Literal["acquired", "served", "gave_up"])
    if isinstance(event, ExchangeFailed):
        assert_type(event.kind, Literal["connect", "refresh"] | None)
        assert_type(event.error, str)
    if isinstance(event, LoggedIn):
        assert_type(event.at, datetime)


def use_telemetry(tracers: TracerProvider, meters: MeterProvider) -> None:
    credentials = Credentials("id", "secret")
    telemetry = TaxizerTelemetry(tracer_provider=tracers, meter_provider=meters)
    hook = telemetry.hook(name="billing", then=own_hook)
    assert_type(hook, AuthTelemetry)
    assert_type(hook(LoggedIn(elapsed=1.0, expires_at=None)), Awaitable[None] | None)
    assert_type(hook.bind(TaxizerAuth(credentials, on_event=hook)), TaxizerAuth)
    other = telemetry.hook(then=lambda _: None)
    client = TaxizerClient(credentials, on_event=other)
    assert_type(other.bind(client.auth), TaxizerAuth)
    third = TaxizerTelemetry().hook()
    assert_type(third.bind(TaxizerAuth2(credentials, on_event=third)), TaxizerAuth2)
    assert_type(telemetry.instrument(client.auth, name="billing"), TaxizerAuth)
    assert_type(telemetry.instrument(TaxizerAuth2(credentials)), TaxizerAuth2)
    httpx2.AsyncClient(auth=TaxizerAuth2(credentials, on_event=third))


def test_a_service(
    taxizer_sandbox: Sandbox,
    taxizer_credentials: Credentials,
    taxizer_auth: TaxizerAuth,
    taxizer_clock: ManualClock,
) -> None:
    assert_type(taxizer_sandbox.base_url, str)
    assert_type(taxizer_credentials.client_id, str)
    assert_type(taxizer_auth.base_url, str)
    assert_type(taxizer_clock.advance(1), None)
    assert_type(token_response(username="x"), dict[str, object])
