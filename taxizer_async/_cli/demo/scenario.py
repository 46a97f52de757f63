"""
The demo without a display: many requests through an expiry, a revocation and an outage.

It starts a sandbox, has the requests sent, by this process or by several, and reports what happens as
values. It prints nothing, and each number it gives was counted by the sandbox or by who sent the
requests. When an incident is due, and when it is over, is decided in `_demo_incidents`.
"""

from __future__ import annotations

import collections
import contextlib
import math
import time

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
import attrs

from taxizer_async._cli.demo.incidents import FIRST_LIFETIME, CrowdLike, Director, Incident, Note
from taxizer_async._cli.demo.load import Crowd, Outcome, Share, Tally
from taxizer_async._cli.demo.redis_server import shared_store
from taxizer_async._cli.demo.worker import Order
from taxizer_async._cli.demo.worker_pool import start_fleet
from taxizer_async._cli.store_config import SharedStore
from taxizer_async.testing import Sandbox, SandboxCounters


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


#: Of a process. Fewer would be over before there is anything to see.
LEAST_REQUESTS: Final = 20
#: Seconds that all requests take at least, incidents aside: more than twice FIRST_LIFETIME, so that
#: the first token ends before half of them are answered, however fast the machine.
_SPAN: Final = 2.25 * FIRST_LIFETIME
#: One in flight for so many in all …
_REQUESTS_PER_CONNECTION: Final = 20
#: … up to this, which one processor can serve.
_MOST_CONNECTIONS: Final = 100
_LEAST_LATENCY: Final = 0.4
#: Seconds that a login takes, so that there is something to wait for.
_LOGIN_LATENCY: Final = 0.3
#: Seconds that the director may take to see that all requests are answered.
_LAST_LOOK: Final = 2.0


@attrs.frozen(kw_only=True)
class Workers:
    """
    Who sends the requests, if it is not this process.

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
        tally: What became of them so far.
        elapsed: Seconds since the first was sent.
        counters: What the sandbox has counted.
    """

    requests: int
    tally: Tally
    elapsed: float
    counters: SandboxCounters


@attrs.frozen(kw_only=True)
class Summary:
    """
    What came of it.

    Attributes:
        progress: The last one.
        outcomes: What came of the requests of each process.
        missed: The incidents that did not come to their end while requests were under way.
        latency: Seconds that the sandbox takes for an answer.
    """

    progress: Progress
    outcomes: tuple[Outcome, ...]
    missed: tuple[Incident, ...]
    latency: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What was not as it should be; nothing, if all is well."""
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
        """Return the seconds in which that *share* of the requests was answered, waits included."""
        ordered = sorted(latency for outcome in self.outcomes for latency in outcome.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


#: One at the start, and one after the outage.
_LOGINS: Final = 2

Report: TypeAlias = Callable[[Progress | Note], None]


class _Crew(CrowdLike, Protocol):
    """Who sends the requests."""

    async def run(self, changed: Callable[[], None]) -> tuple[Outcome, ...]: ...


async def run_demo(requests: int, report: Report, workers: Workers | None = None) -> Summary:
    """
    Send *requests* at once through all three incidents; tell *report* of each step.

    Without *workers* this process sends them.

    Raises:
        ValueError: If there are fewer than `LEAST_REQUESTS` for each process.
        ConfigurationError: If what the workers need is not on this machine.
    """
    processes = 1 if workers is None else workers.number
    if requests < LEAST_REQUESTS * processes:
        msg = f"the demo takes at least {LEAST_REQUESTS * processes} requests, not {requests}"
        raise ValueError(msg)
    shares = _divide(requests, processes)
    connections = sum(share.connections for share in shares)
    sandbox = Sandbox(
        lifetime=FIRST_LIFETIME,
        connect_latency=_LOGIN_LATENCY,
        resource_latency=max(_LEAST_LATENCY, connections * _SPAN / requests),
    )
    async with sandbox, _muster(sandbox, shares, workers) as crew:
        return await _run(sandbox, crew, report)


def _divide(requests: int, processes: int) -> list[Share]:
    connections = min(requests // _REQUESTS_PER_CONNECTION, _MOST_CONNECTIONS)
    each, left = divmod(requests, processes)
    return [
        Share.of(each + (number < left), max(1, connections // processes))
        for number in range(processes)
    ]


@contextlib.asynccontextmanager
async def _muster(
    sandbox: Sandbox, shares: list[Share], workers: Workers | None
) -> AsyncGenerator[_Crew]:
    if workers is None:
        (share,) = shares
        yield Crowd(share, sandbox.credentials, sandbox.base_url)
        return
    async with shared_store(workers.store) as store:
        orders = [
            Order(
                share=share,
                credentials=sandbox.credentials,
                base_url=sandbox.base_url,
                store=store,
                backend=workers.backend,
            )
            for share in shares
        ]
        async with start_fleet(orders) as fleet:
            yield fleet


async def _run(sandbox: Sandbox, crew: _Crew, report: Report) -> Summary:
    began = time.monotonic()

    def look() -> Progress:
        return Progress(
            requests=crew.requests,
            tally=crew.tally,
            elapsed=time.monotonic() - began,
            counters=sandbox.counters,
        )

    director = Director(sandbox, crew, report)
    outcomes: tuple[Outcome, ...] = ()
    async with anyio.create_task_group() as incidents:
        incidents.start_soon(director.run)
        outcomes = await crew.run(lambda: report(look()))
        with anyio.move_on_after(_LAST_LOOK):
            await director.done.wait()
        incidents.cancel_scope.cancel()
    return Summary(
        progress=look(),
        outcomes=outcomes,
        missed=director.missed,
        latency=sandbox.resource_latency,
    )
