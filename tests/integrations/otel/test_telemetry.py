"""Spans and metrics of the real SDK, of real exchanges with a sandbox."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import time

from typing import Any

import anyio
import httpx
import pytest

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from taxizer_async import (
    AuthError,
    ConfigurationError,
    Credentials,
    Event,
    LoggedIn,
    RenewalPolicy,
    TaxizerAuth,
    TokenAwaited,
    TokenEndpointUnavailableError,
)
from taxizer_async.otel import TaxizerTelemetry
from taxizer_async.testing import Fault, ManualClock
from tests.support.limits import HANG
from tests.support.scripted_store import ScriptedStore

from .recorded import Recorded


#: Past the age from which callers wait for a token of 900 s to be renewed.
PRESSING = 875.0
ONCE = RenewalPolicy(backoff=60.0)
#: The pauses between looks grow with chance; none of these is longer than the steps of the clock.
QUICK = RenewalPolicy(lease_poll=0.005)
#: A store that can't tell whether the lease is free is asked for it with each third look.
LOOKS_PER_TRY = 3


def server(recorded: Recorded) -> dict[str, Any]:
    return {"server.address": "127.0.0.1", "server.port": recorded.sandbox.port}


def exchange(kind: str, outcome: str = "success", **more: Any) -> dict[str, Any]:
    named = {name.replace("_", "."): value for name, value in more.items()}
    return {"taxizer.exchange.kind": kind, "taxizer.exchange.outcome": outcome, **named}


def failed(kind: str, status: int) -> dict[str, Any]:
    return {
        **exchange(kind, "failure"),
        "error.type": str(status),
        "http.response.status_code": status,
    }


def exchanges(recorded: Recorded) -> dict[tuple[str, str], float]:
    return {
        (point.attributes["taxizer.exchange.kind"], point.attributes["taxizer.exchange.outcome"]): (
            point.value
        )
        for point in recorded.points("taxizer.exchanges")
    }


async def log_in_slowly(recorded: Recorded) -> None:
    """Log in for three callers; the login takes two seconds."""
    auth = recorded.auth()
    async with anyio.create_task_group() as tasks:
        with recorded.sandbox.hold("connect") as gate:
            for _ in range(3):
                tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            await anyio.wait_all_tasks_blocked()
            recorded.clock.advance(2.0)


async def test_a_cold_start(recorded: Recorded) -> None:
    """One login is one span of its duration and one count; three waits are recorded."""
    await log_in_slowly(recorded)
    await recorded.complete()

    (span,) = recorded.spans()
    assert (span.name, span.kind) == ("taxizer.connect", SpanKind.INTERNAL)
    assert span.attributes == exchange("connect") | server(recorded)
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == pytest.approx(2e9, abs=1e6)
    (count,) = recorded.points("taxizer.exchanges")
    assert (count.value, count.attributes) == (1, exchange("connect") | server(recorded))
    (duration,) = recorded.points("taxizer.exchange.duration")
    assert duration.count == 1
    assert duration.value == pytest.approx(2.0)
    (wait,) = recorded.points("taxizer.token.wait.duration")
    assert (wait.count, wait.attributes) == (3, server(recorded))
    assert wait.value > 0


async def test_the_fast_path_records_nothing(recorded: Recorded) -> None:
    """A caller that finds a fresh token does not wait, and is not counted."""
    auth = recorded.auth()
    for _ in range(5):
        await auth.token()
    await recorded.complete()

    assert [point.count for point in recorded.points("taxizer.token.wait.duration")] == [1]


async def test_units(recorded: Recorded) -> None:
    """Units are UCUM's, names share one namespace, and buckets suit seconds."""
    await log_in_slowly(recorded)

    units = {metric.name: metric.unit for metric in recorded.metrics()}
    assert units == {
        "taxizer.exchanges": "{exchange}",
        "taxizer.exchange.duration": "s",
        "taxizer.token.wait.duration": "s",
        "taxizer.token.expires_in": "s",
    }
    (duration,) = [m for m in recorded.metrics() if m.name == "taxizer.exchange.duration"]
    assert duration.data.data_points[0].explicit_bounds[0] == pytest.approx(0.005)


async def test_a_span_of_a_login_is_in_no_requests_trace(recorded: Recorded) -> None:
    """A login belongs to all requests that wait for it, so its span is a root."""
    auth = recorded.auth()
    with recorded.tracers.get_tracer("service").start_as_current_span("request"):
        await auth.token()
    await recorded.complete()

    connect = next(span for span in recorded.spans() if span.name == "taxizer.connect")
    assert connect.parent is None


async def test_a_renewal(recorded: Recorded) -> None:
    """A refresh is an exchange of kind `refresh`."""
    auth = recorded.auth()
    await auth.token()
    recorded.clock.advance(PRESSING)
    await auth.token()
    await recorded.complete()

    assert [span.name for span in recorded.spans()] == ["taxizer.connect", "taxizer.refresh"]
    assert exchanges(recorded) == {("connect", "success"): 1, ("refresh", "success"): 1}


async def test_a_refused_renewal(recorded: Recorded) -> None:
    """A refused refresh is a failure, and the login after it a separate success."""
    auth = recorded.auth()
    await auth.token()
    recorded.sandbox.revoke_refresh_tokens()
    recorded.clock.advance(PRESSING)
    await auth.token()
    await recorded.complete()

    _, refresh, connect = recorded.spans()
    assert refresh.attributes == failed("refresh", 400) | server(recorded)
    assert refresh.status.status_code is StatusCode.ERROR
    assert connect.attributes == exchange("connect") | server(recorded)


async def test_a_renewal_without_an_answer(recorded: Recorded) -> None:
    """Without an answer there is no status, and the error type is a class."""
    auth = recorded.auth()
    await auth.token()
    recorded.sandbox.fail("refresh", Fault.drop_after_processing(), times=1)
    recorded.clock.advance(PRESSING)
    await auth.token()
    await recorded.complete()

    refresh = recorded.spans()[1]
    assert refresh.attributes == exchange("refresh", "failure") | server(recorded) | {
        "error.type": "TokenEndpointUnavailableError"
    }


@pytest.mark.parametrize(
    ("fault", "attributes"),
    [
        (Fault.status(503), failed("connect", 503)),
        (Fault.status(401), failed("connect", 401)),
        (
            Fault.junk(b"<html>"),
            exchange("connect", "failure")
            | {"error.type": "TokenResponseError", "http.response.status_code": 200},
        ),
        (
            Fault.reset(),
            exchange("connect", "failure") | {"error.type": "TokenEndpointUnavailableError"},
        ),
    ],
    ids=["503", "401", "junk", "reset"],
)
async def test_a_failed_login(recorded: Recorded, fault: Fault, attributes: dict[str, Any]) -> None:
    """A failure is one error span and one count, however many callers it fails."""
    recorded.sandbox.fail("connect", fault)
    auth = recorded.auth(policy=ONCE)
    for _ in range(3):
        with pytest.raises(AuthError):
            await auth.token()
    await recorded.complete()

    (span,) = recorded.spans()
    assert span.attributes == attributes | server(recorded)
    assert span.status.status_code is StatusCode.ERROR
    (count,) = recorded.points("taxizer.exchanges")
    assert (count.value, count.attributes) == (1, span.attributes)


async def test_an_unsent_request_is_no_exchange(recorded: Recorded) -> None:
    """Without credentials or a client no exchange is recorded."""

    def fail() -> Any:
        raise ZeroDivisionError

    with pytest.raises(AuthError):
        await recorded.auth(credentials=fail).token()
    with pytest.raises(ConfigurationError):
        await recorded.auth(http_client=fail).token()
    await recorded.complete()

    assert recorded.spans() == []
    assert recorded.points("taxizer.exchanges") == []


async def test_a_401(recorded: Recorded) -> None:
    """A refused token is counted once, and its renewal is recorded as usual."""
    auth = recorded.auth()
    async with httpx.AsyncClient(auth=auth, base_url=recorded.sandbox.base_url) as client:
        await client.post("/v1/Devices/Register")
        recorded.sandbox.revoke()
        await client.post("/v1/Devices/Register")
    await recorded.complete()

    (refusal,) = recorded.points("taxizer.token.refusals")
    assert refusal.value == 1
    assert refusal.attributes == server(recorded) | {"taxizer.token.renewing": True}
    assert exchanges(recorded) == {("connect", "success"): 1, ("refresh", "success"): 1}


async def test_a_store_that_fails(recorded: Recorded) -> None:
    """An outage of the store is counted once, with the operation that failed first."""
    recorded.store.down = {"load", "save", "lease"}
    auth = recorded.auth()
    await auth.token()
    await auth.token()
    await recorded.complete()

    (failure,) = recorded.points("taxizer.store.failures")
    assert failure.value == 1
    assert failure.attributes == server(recorded) | {"taxizer.store.operation": "load"}


async def wait_for_lease(recorded: Recorded, auth: TaxizerAuth, then: Any, *, looks: int) -> None:
    """Make *auth* wait a second for the lease, do *then*, and let it poll so often again."""

    async def pass_a_look(seconds: float) -> None:
        await recorded.clock.wait_until_asleep()
        recorded.clock.advance(seconds)

    recorded.store.busy = True
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            for _ in range(LOOKS_PER_TRY):
                await pass_a_look(1.0 / LOOKS_PER_TRY)
            await recorded.clock.wait_until_asleep()
            await then()
            for _ in range(looks):
                await pass_a_look(1.0 / LOOKS_PER_TRY)


async def test_a_wait_for_the_lease(recorded: Recorded) -> None:
    """The wait for the lease is a span before that of the login."""

    async def free() -> None:
        recorded.store.busy = False

    await wait_for_lease(recorded, recorded.auth(policy=QUICK), free, looks=LOOKS_PER_TRY)
    await recorded.complete()

    lease, connect = recorded.spans()
    assert lease.name == "taxizer.lease.wait"
    assert lease.attributes == server(recorded) | {"taxizer.lease.wait.outcome": "acquired"}
    assert lease.end_time is not None
    assert lease.start_time is not None
    assert lease.end_time - lease.start_time == pytest.approx(2e9, abs=1e6)
    assert connect.start_time is not None
    assert lease.end_time <= connect.start_time
    (wait,) = recorded.points("taxizer.lease.wait.duration")
    assert wait.count == 1
    assert wait.value == pytest.approx(2.0)


async def test_a_wait_that_another_client_ends(recorded: Recorded) -> None:
    """A waiting process is served by the holder's token: an adoption, not an exchange."""
    others = ScriptedStore(recorded.clock)
    others.inner = recorded.store.inner
    other = recorded.auth(name="other", store=others)

    async def log_in() -> None:
        await other.token()

    await wait_for_lease(recorded, recorded.auth(name="this", policy=QUICK), log_in, looks=1)
    await recorded.complete()

    (wait,) = recorded.points("taxizer.lease.wait.duration")
    assert wait.attributes["taxizer.lease.wait.outcome"] == "served"
    (adoption,) = recorded.points("taxizer.token.adoptions")
    assert adoption.attributes["taxizer.auth.name"] == "this"
    (count,) = recorded.points("taxizer.exchanges")
    assert count.attributes["taxizer.auth.name"] == "other"


async def test_a_wait_that_is_given_up(recorded: Recorded) -> None:
    """At its limit the wait ends, and the refresh with it."""

    async def let_time_pass() -> None:
        recorded.clock.advance(RenewalPolicy().exchange_timeout)

    with pytest.RaisesGroup(TokenEndpointUnavailableError, flatten_subgroups=True):
        await wait_for_lease(recorded, recorded.auth(policy=QUICK), let_time_pass, looks=0)
    await recorded.complete()

    (wait,) = recorded.points("taxizer.lease.wait.duration")
    assert wait.attributes["taxizer.lease.wait.outcome"] == "gave_up"
    assert recorded.sandbox.counters.exchanges == 0


async def test_the_life_that_is_left(recorded: Recorded) -> None:
    """The gauge follows the clock; there is no point without a token, or once the auth is gone."""
    hook = recorded.telemetry.hook()
    auth = hook.bind(
        TaxizerAuth(
            recorded.sandbox.credentials, base_url=recorded.sandbox.base_url, clock=recorded.clock
        )
    )
    assert recorded.points("taxizer.token.expires_in") == []
    await auth.token()
    (before,) = recorded.points("taxizer.token.expires_in")
    recorded.clock.advance(100.0)
    (after,) = recorded.points("taxizer.token.expires_in")

    assert before.value == pytest.approx(900, abs=2)
    assert before.value - after.value == pytest.approx(100)
    del auth
    gc.collect()
    assert recorded.points("taxizer.token.expires_in") == []


async def test_two_auths(recorded: Recorded) -> None:
    """Two auths of one API have different names in all that is recorded."""
    recorded.sandbox.lifetime = 900
    one, two = recorded.auth(name="one", store=None), recorded.auth(name="two", store=None)
    await one.token()
    recorded.sandbox.lifetime = 500
    await two.token()
    await recorded.complete()

    names = {span.attributes["taxizer.auth.name"] for span in recorded.spans() if span.attributes}
    assert names == {"one", "two"}
    left = {
        point.attributes["taxizer.auth.name"]: point.value
        for point in recorded.points("taxizer.token.expires_in")
    }
    assert left == {"one": pytest.approx(900, abs=2), "two": pytest.approx(500, abs=2)}


async def test_a_hook_is_of_one_auth(recorded: Recorded) -> None:
    """A hook accepts only one auth, as it could not tell two apart."""
    hook = recorded.telemetry.hook()
    auth = hook.bind(
        TaxizerAuth(recorded.sandbox.credentials, base_url=recorded.sandbox.base_url, on_event=hook)
    )
    with pytest.raises(ConfigurationError, match="another"):
        hook.bind(auth)


async def test_an_auth_that_is_not_bound(recorded: Recorded) -> None:
    """Without `bind` everything but the server and the gauge is recorded."""
    auth = TaxizerAuth(
        recorded.sandbox.credentials,
        base_url=recorded.sandbox.base_url,
        on_event=recorded.telemetry.hook(),
    )
    await auth.token()
    await auth.events_delivered()

    (span,) = recorded.spans()
    assert span.attributes == exchange("connect")
    assert recorded.points("taxizer.token.expires_in") == []


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_the_users_own_hook(*, is_async: bool, recorded: Recorded) -> None:
    """The user's hook receives each event before the span is made, and is awaited if it is async."""
    heard: list[tuple[Event, int]] = []
    told = anyio.Event()

    def sync_hook(event: Event) -> None:
        heard.append((event, len(recorded.spans())))
        if isinstance(event, TokenAwaited):
            told.set()

    async def async_hook(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        sync_hook(event)

    await recorded.auth(then=async_hook if is_async else sync_hook).token()
    with anyio.fail_after(HANG):
        await told.wait()
    await recorded.complete()

    assert [spans for event, spans in heard if isinstance(event, LoggedIn)] == [0]
    assert len(recorded.spans()) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_the_users_own_hook_fails(
    *, is_async: bool, caplog: pytest.LogCaptureFixture, recorded: Recorded
) -> None:
    """An exception of the user's hook is logged, and costs neither the request nor the telemetry."""

    def sync_hook(_: Event) -> None:
        raise ZeroDivisionError

    async def async_hook(_: Event) -> None:
        raise ZeroDivisionError

    await recorded.auth(then=async_hook if is_async else sync_hook).token()
    await recorded.complete()

    assert len(recorded.spans()) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "on_event failed on LoggedIn: ZeroDivisionError" in errors


async def test_an_sdk_that_fails(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    """A span processor that raises fails no request, and the user's hook still receives events."""

    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise ZeroDivisionError(span.name)

    recorded.tracers.add_span_processor(Broken())
    heard: list[Event] = []
    await recorded.auth(then=heard.append).token()
    await recorded.complete()

    assert LoggedIn in [type(event) for event in heard]
    assert "on_event failed on LoggedIn: ZeroDivisionError" in caplog.text


async def test_no_secret_is_recorded(recorded: Recorded) -> None:
    """No exporter ever gets a token or the clientSecret."""
    recorded.clock = ManualClock(start=time.time(), autojump=True)
    auth = recorded.auth(policy=ONCE)
    await auth.token()
    refresh_token = recorded.sandbox.issued_refresh_tokens[-1]
    for fault in (Fault.junk(refresh_token.encode()), Fault.status(400, body="sandbox-secret")):
        recorded.sandbox.fail("refresh", fault, times=1)
        recorded.sandbox.fail("connect", fault, times=1)
        recorded.clock.advance(PRESSING + 100)
        with pytest.raises(AuthError):
            await auth.token()
    rejected = recorded.auth(credentials=Credentials("sandbox-client", "canary-secret"), store=None)
    with pytest.raises(AuthError):
        await rejected.token()
    await recorded.complete()

    text = recorded.text()
    assert "taxizer.refresh" in text
    secrets = [*recorded.sandbox.issued_jwts, *recorded.sandbox.issued_refresh_tokens]
    assert not [each for each in (*secrets, "sandbox-secret", "canary-secret") if each in text]


async def test_without_an_sdk(recorded: Recorded) -> None:
    """With the API alone, or before an SDK is set up, nothing is recorded and nothing fails."""
    hook = TaxizerTelemetry().hook()
    auth = hook.bind(
        TaxizerAuth(recorded.sandbox.credentials, base_url=recorded.sandbox.base_url, on_event=hook)
    )
    await auth.token()

    assert not trace.get_current_span().is_recording()
    assert recorded.sandbox.counters.connects == 1


def test_a_missing_extra_is_named() -> None:
    """Without opentelemetry-api the module says what to install."""
    code = "import sys; sys.modules['opentelemetry'] = None; import taxizer_async.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)

    assert done.returncode == 1
    assert 'pip install "taxizer-async[otel]"' in done.stderr
