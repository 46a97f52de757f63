"""An auth that is instrumented in one step: live spans around its exchanges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from taxizer_async import AuthError, ConfigurationError, RenewalPolicy, TaxizerAuth, TaxizerClient
from taxizer_async._core.exchange import ExchangeTracer, Outcome
from taxizer_async._http.token_endpoints import traced
from taxizer_async.httpx2 import TaxizerAuth as TaxizerAuth2
from taxizer_async.testing import Fault

from .recorded import Recorded


ONCE = RenewalPolicy(backoff=60.0)


@pytest.fixture(name="auth")
def _auth(recorded: Recorded) -> TaxizerAuth:
    auth = TaxizerAuth(
        recorded.sandbox.credentials, base_url=recorded.sandbox.base_url, policy=ONCE
    )
    return recorded.telemetry.instrument(auth, name="north")


@pytest.fixture(name="instrumented_httpx")
def _instrumented_httpx(recorded: Recorded) -> Iterator[None]:
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.tracers)
    yield
    instrumentor.uninstrument()


def by_name(recorded: Recorded) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in recorded.spans():
        found.setdefault(span.name, []).append(span)
    return found


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


@pytest.mark.usefixtures("instrumented_httpx")
async def test_the_http_spans_of_exchanges_are_within_ours(
    recorded: Recorded, auth: TaxizerAuth
) -> None:
    """The HTTP span of a login or renewal is a child of its span, and none is in a request's trace."""
    async with httpx.AsyncClient(base_url=recorded.sandbox.base_url, auth=auth) as client:
        with recorded.tracers.get_tracer("service").start_as_current_span("service"):
            await client.get("/v1/x")
        recorded.sandbox.revoke()
        await client.get("/v1/x")
    await auth.events_delivered()

    spans = by_name(recorded)
    (connect,), (refresh,) = spans["taxizer.connect"], spans["taxizer.refresh"]
    posts = spans["POST"]
    assert [parent_of(connect), parent_of(refresh)] == [None, None]
    assert {parent_of(post) for post in posts} == {id_of(connect), id_of(refresh)}
    (service,) = spans["service"]
    assert parent_of(spans["GET"][0]) == id_of(service)


async def test_it_records_what_a_hook_records(recorded: Recorded, auth: TaxizerAuth) -> None:
    """One exchange is one span and one count, and the token's remaining life is shown."""
    await auth.token()
    await auth.events_delivered()

    (span,) = recorded.spans()
    (count,) = recorded.points("taxizer.exchanges")
    assert span.attributes == count.attributes
    assert span.attributes["taxizer.auth.name"] == "north"
    assert span.status.status_code is StatusCode.UNSET
    assert count.value == 1
    assert len(recorded.points("taxizer.token.expires_in")) == 1


@pytest.mark.parametrize(
    ("fault", "attributes"),
    [
        (Fault.status(503), {"error.type": "503", "http.response.status_code": 503}),
        (Fault.status(400), {"error.type": "400", "http.response.status_code": 400}),
        (Fault.reset(), {"error.type": "TokenEndpointUnavailableError"}),
        (Fault.junk(b"{}"), {"error.type": "TokenResponseError", "http.response.status_code": 200}),
    ],
)
async def test_a_failed_exchange(
    recorded: Recorded, auth: TaxizerAuth, fault: Fault, attributes: dict[str, Any]
) -> None:
    """A failure is in the span's status, and in the same attributes as in the count."""
    recorded.sandbox.fail("connect", fault)
    with pytest.raises(AuthError):
        await auth.token()
    await auth.events_delivered()

    (span,) = recorded.spans()
    (count,) = recorded.points("taxizer.exchanges")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes == count.attributes
    assert attributes.items() <= dict(span.attributes or {}).items()


async def test_an_http_client_that_can_not_be_made(recorded: Recorded) -> None:
    """A login that is not sent is a span with the error of the user's part."""
    auth = recorded.telemetry.instrument(
        TaxizerAuth(
            recorded.sandbox.credentials,
            base_url=recorded.sandbox.base_url,
            http_client=lambda: None,
        )
    )
    with pytest.raises(ConfigurationError):
        await auth.token()

    (span,) = recorded.spans()
    assert dict(span.attributes or {})["error.type"] == "ConfigurationError"


async def test_a_tracer_that_fails_fails_no_login(
    recorded: Recorded, auth: TaxizerAuth, caplog: pytest.LogCaptureFixture
) -> None:
    """A span processor that raises is logged by its class, and the login goes on."""

    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise ZeroDivisionError(span.name)

    recorded.tracers.add_span_processor(Broken())
    await auth.token()
    assert "a login or renewal could not be traced: ZeroDivisionError" in caplog.text


async def test_an_exchange_that_is_cancelled_ends_its_trace() -> None:
    """Tracers hear of the end of a cancelled exchange, without an outcome, the last one first."""
    heard: list[tuple[str, Outcome | None]] = []

    async def ask() -> Any:
        await anyio.sleep_forever()

    tracers: tuple[ExchangeTracer, ...] = (
        lambda kind: lambda outcome: heard.append((f"outer {kind}", outcome)),
        lambda kind: lambda outcome: heard.append((f"inner {kind}", outcome)),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(traced, "refresh", tracers, ask())
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert heard == [("inner refresh", None), ("outer refresh", None)]


async def test_an_auth_is_instrumented_once(recorded: Recorded, auth: TaxizerAuth) -> None:
    """The same auth twice is refused, and so is what is no auth."""
    with pytest.raises(ConfigurationError, match="instrumented already"):
        recorded.telemetry.instrument(auth)
    wrong: Any = httpx.BasicAuth("a", "b")
    with pytest.raises(ConfigurationError, match="must be a TaxizerAuth"):
        recorded.telemetry.instrument(wrong)


async def test_clients_and_httpx2_are_instrumented_alike(recorded: Recorded) -> None:
    """The auth of a client, and one on httpx2, are instrumented in the same step."""
    sandbox = recorded.sandbox
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        recorded.telemetry.instrument(client.auth)
        await client.get("/v1/x")
    other = recorded.telemetry.instrument(
        TaxizerAuth2(sandbox.credentials, base_url=sandbox.base_url)
    )
    await other.token()

    assert [span.name for span in recorded.spans()] == ["taxizer.connect"] * 2
