"""
The demo without a display: many requests through an expiry, a revocation and an outage.

Each number that it reports was counted by the sandbox, or by what sends the requests.
"""

from __future__ import annotations

import collections
import contextlib
import math

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import anyio
import attrs

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Workload
from taxizer_async._cli.demo.scenario import FIRST_LIFETIME, Phase, Progress, Report, Scenario
from taxizer_async._cli.demo.workers import Sender, Workers, shared_store, start_workers
from taxizer_async._cli.store_config import StoreConfig, StoreKind
from taxizer_async.testing import Sandbox


#: One at the start, and one after the outage.
_LOGINS: Final = 2
#: Seconds that the requests take at least: more than twice FIRST_LIFETIME, so that the first token expires
#: before half of them are answered, however fast the machine.
_MIN_DURATION: Final = 2.25 * FIRST_LIFETIME
#: The most requests in flight: a share of them, and as many as one processor can serve.
_IN_FLIGHT: Final = 1 / 20
_MAX_IN_FLIGHT: Final = 100
_MIN_LATENCY: Final = 0.4
#: Seconds that a login takes: long enough for requests to wait for it.
_LOGIN_LATENCY: Final = 0.3
#: Seconds that the scenario may take to see that all requests are done.
_SCENARIO_TIMEOUT: Final = 2.0


@attrs.frozen(kw_only=True)
class Summary:
    """
    The result of the demo.

    Attributes:
        progress: The progress at the end.
        counts: What each process has done.
        missed: Phases that were not over when the last request was.
        latency: Seconds that the sandbox takes for an answer.
    """

    progress: Progress
    counts: tuple[Counts, ...]
    missed: tuple[Phase, ...]
    latency: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong; empty if nothing did."""
        logins = self.progress.counters.connects_ok
        failures: collections.Counter[str] = collections.Counter()
        for each in self.counts:
            failures.update(each.failures)
        return (
            *(f"{number} failed: {reason}" for reason, number in failures.most_common()),
            *((f"{logins} logins in place of {_LOGINS}",) if logins != _LOGINS else ()),
            *(f"there was no {phase} to be seen" for phase in self.missed),
        )

    def percentile(self, share: float) -> float:
        """Return the seconds within which that *share* of the requests was answered."""
        ordered = sorted(latency for each in self.counts for latency in each.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


async def run_demo(
    requests: int,
    report: Report,
    workers: Workers | None = None,
    announce: Callable[[str], None] | None = None,
) -> Summary:
    """
    Send *requests* through all phases; call *report* with each step, and often with the progress.

    Without *workers* this process sends them. *announce* is called with the sandbox's URL once it serves.

    Raises:
        ConfigurationError: If this machine lacks what the workers need.
    """
    processes = 1 if workers is None else workers.number
    in_flight = max(1, min(int(requests * _IN_FLIGHT), _MAX_IN_FLIGHT) // processes)
    sandbox = Sandbox(
        lifetime=FIRST_LIFETIME,
        connect_latency=_LOGIN_LATENCY,
        resource_latency=max(_MIN_LATENCY, in_flight * processes * _MIN_DURATION / requests),
    )
    async with sandbox, _start_senders(sandbox, requests, in_flight, workers) as senders:
        if announce is not None:
            announce(sandbox.base_url)
        scenario = Scenario(sandbox, senders, report)
        async with anyio.create_task_group() as story:
            story.start_soon(scenario.run)
            async with anyio.create_task_group() as sending:
                for sender in senders:
                    sending.start_soon(sender.run)
            story.cancel_scope.deadline = anyio.current_time() + _SCENARIO_TIMEOUT
        report(scenario.progress)
        return Summary(
            progress=scenario.progress,
            counts=tuple(sender.counts for sender in senders),
            missed=tuple(scenario.missed),
            latency=sandbox.resource_latency,
        )


@contextlib.asynccontextmanager
async def _start_senders(
    sandbox: Sandbox, requests: int, in_flight: int, workers: Workers | None
) -> AsyncGenerator[Sequence[Sender]]:
    alone = Workload(
        requests=requests,
        in_flight=in_flight,
        credentials=sandbox.credentials,
        base_url=sandbox.base_url,
        store=StoreConfig(kind=StoreKind.MEMORY),
    )
    if workers is None:
        yield [LoadGenerator(alone)]
        return
    each, left = divmod(requests, workers.number)
    shares = [each + (number < left) for number in range(workers.number)]
    async with shared_store(workers.store) as store:
        workloads = [attrs.evolve(alone, requests=share, store=store) for share in shares]
        async with start_workers(workloads, workers.backend) as started:
            yield started
