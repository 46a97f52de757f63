"""A sandbox, a clock and a store for auths that report to the real SDK, and what it recorded."""

from __future__ import annotations

import time

from typing import Any, final

import attrs

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taxizer_async import TaxizerAuth
from taxizer_async._core.event_log import EventHook
from taxizer_async.otel import TaxizerTelemetry
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.scripted_store import ScriptedStore


@attrs.frozen
class Point:
    """A data point: a number, or a histogram's count and sum."""

    attributes: dict[str, Any]
    value: float
    count: int | None = None


@final
class Recorded:
    """The providers of one test, and what they recorded."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.clock = ManualClock(start=time.time())
        self.store = ScriptedStore(self.clock)
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.telemetry = TaxizerTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)
        self._auths: list[TaxizerAuth] = []

    def auth(
        self, *, name: str | None = None, then: EventHook | None = None, **options: Any
    ) -> TaxizerAuth:
        """Make an auth that reports here."""
        hook = self.telemetry.hook(name=name, then=then)
        arguments: dict[str, Any] = {
            "credentials": self.sandbox.credentials,
            "base_url": self.sandbox.base_url,
            "clock": self.clock,
            "store": self.store,
            "on_event": hook,
        }
        self._auths.append(hook.bind(TaxizerAuth(**(arguments | options))))
        return self._auths[-1]

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()

    async def complete(self) -> None:
        """Wait until all events are recorded."""
        for auth in self._auths:
            await auth.events_delivered()

    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def metrics(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return [metric for scope in scopes for metric in scope.metrics]

    def points(self, name: str) -> list[Point]:
        found = [
            each
            for metric in self.metrics()
            if metric.name == name
            for each in metric.data.data_points
        ]
        return [
            Point(
                dict(each.attributes),
                each.sum if hasattr(each, "sum") else each.value,
                getattr(each, "count", None),
            )
            for each in found
        ]

    def text(self) -> str:
        """Everything recorded, as an exporter would write it."""
        return "\n".join(
            [span.to_json() for span in self.spans()]
            + [metric.to_json() for metric in self.metrics()]
        )
