"""
The demo without a display: many requests through an expiry, a revocation and an outage.

It starts a sandbox and the senders, and reports what happens as values. The sandbox or the senders have
counted each number in them.
"""

from __future__ import annotations

import collections
import contextlib
import math
import time

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import attrs

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Outcome, Workload
from taxizer_async._cli.demo.scenario import FIRST_LIFETIME, Incident, Scenario, Step
from taxizer_async._cli.demo.worker import WorkerConfig
from taxizer_async._cli.demo.worker_pool import Senders, shared_store, start_workers
from taxizer_async._cli.store_config import SharedStore
from taxizer_async.testing import Sandbox, SandboxCounters


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


#: One at the start, and one after the outage.
_LOGINS: Final = 2
#: Per process: fewer are over before there is anything to see.
MIN_REQUESTS: Final = 20
#: Seconds that the requests take at least: more than twice FIRST_LIFETIME, so that the first token ends
#: before half of them are answered, however fast the machine.
_MIN_DURATION: Final = 2.25 * FIRST_LIFETIME
_REQUESTS_PER_CONNECTION: Final = 20
#: As many as one processor can serve.
_MAX_CONNECTIONS: Final = 100
_MIN_LATENCY: Final = 0.4
#: Seconds that a login takes: long enough for requests to wait for it.
_LOGIN_LATENCY: Final = 0.3
#: Seconds that the scenario may take to see that all requests are answered.
_SCENARIO_TIMEOUT: Final = 2.0


@attrs.frozen(kw_only=True)
class Workers:
    """
    Processes that send the requests in place of this one.

    Attributes:
        number: How many processes.
        store: Where they share their token.
        backend: The event loop that they run on.
    """

    number: int
    store: SharedStore
    backend: str


@attrs.frozen(kw_only=True)
class Progress:
    """
    How far the requests are.

    Attributes:
        requests: How many there are.
        counts: How many are done, have failed, and are in flight.
        elapsed: Seconds since the first was sent.
        counters: What the sandbox has counted.
    """

    requests: int
    counts: Counts
    elapsed: float
    counters: SandboxCounters


@attrs.frozen(kw_only=True)
class Summary:
    """
    The result of the demo.

    Attributes:
        progress: The progress at the end.
        outcomes: The outcome of each process.
        missed: Incidents that were not over when the last request was.
        latency: Seconds that the sandbox takes for an answer.
    """

    progress: Progress
    outcomes: tuple[Outcome, ...]
    missed: tuple[Incident, ...]
    latency: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong; empty if nothing did."""
        logins = self.progress.counters.connects_ok
        failures: collections.Counter[str] = collections.Counter()
        for outcome in self.outcomes:
            failures.update(dict(outcome.failures))
        return (
            *(f"{number} failed: {reason}" for reason, number in failures.most_common()),
            *((f"{logins} logins in place of {_LOGINS}",) if logins != _LOGINS else ()),
            *(f"there was no {incident} to be seen" for incident in self.missed),
        )

    def percentile(self, share: float) -> float:
        """Return the seconds within which that *share* of the requests was answered."""
        ordered = sorted(latency for outcome in self.outcomes for latency in outcome.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


Report: TypeAlias = Callable[[Progress | Step], None]


async def run_demo(requests: int, report: Report, workers: Workers | None = None) -> Summary:
    """
    Send *requests* at once through all three incidents, and call *report* with each step.

    Without *workers* this process sends them.

    Raises:
        ValueError: If there are fewer than `MIN_REQUESTS` for each process.
        ConfigurationError: If this machine lacks what the workers need.
    """
    processes = 1 if workers is None else workers.number
    if requests < MIN_REQUESTS * processes:
        msg = f"the demo takes at least {MIN_REQUESTS * processes} requests, not {requests}"
        raise ValueError(msg)
    workloads = _divide(requests, processes)
    connections = sum(workload.connections for workload in workloads)
    sandbox = Sandbox(
        lifetime=FIRST_LIFETIME,
        connect_latency=_LOGIN_LATENCY,
        resource_latency=max(_MIN_LATENCY, connections * _MIN_DURATION / requests),
    )
    async with sandbox, _start_senders(sandbox, workloads, workers) as senders:
        return await _run(sandbox, senders, report)


def _divide(requests: int, processes: int) -> list[Workload]:
    connections = min(requests // _REQUESTS_PER_CONNECTION, _MAX_CONNECTIONS)
    each, left = divmod(requests, processes)
    return [
        Workload.of(each + (number < left), max(1, connections // processes))
        for number in range(processes)
    ]


@contextlib.asynccontextmanager
async def _start_senders(
    sandbox: Sandbox, workloads: list[Workload], workers: Workers | None
) -> AsyncGenerator[Senders]:
    if workers is None:
        (workload,) = workloads
        yield LoadGenerator(workload, sandbox.credentials, sandbox.base_url)
        return
    async with shared_store(workers.store) as store:
        configs = [
            WorkerConfig(
                workload=workload,
                credentials=sandbox.credentials,
                base_url=sandbox.base_url,
                store=store,
                backend=workers.backend,
            )
            for workload in workloads
        ]
        async with start_workers(configs) as pool:
            yield pool


async def _run(sandbox: Sandbox, senders: Senders, report: Report) -> Summary:
    began = time.monotonic()

    def progress() -> Progress:
        return Progress(
            requests=senders.requests,
            counts=senders.counts,
            elapsed=time.monotonic() - began,
            counters=sandbox.counters,
        )

    scenario = Scenario(sandbox, senders, report)
    outcomes: tuple[Outcome, ...] = ()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scenario.run)
        outcomes = await senders.run(lambda: report(progress()))
        with anyio.move_on_after(_SCENARIO_TIMEOUT):
            await scenario.done.wait()
        tasks.cancel_scope.cancel()
    return Summary(
        progress=progress(),
        outcomes=outcomes,
        missed=scenario.missed,
        latency=sandbox.resource_latency,
    )
