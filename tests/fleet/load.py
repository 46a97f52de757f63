"""
A fleet under steady load whose tokens last 4 s, with or without workers that are killed.

`tests.fleet.campaign` prints the result.
"""

from __future__ import annotations

import random
import time

from collections.abc import Iterable

import attrs

from taxizer_async.testing import Sandbox, SandboxCounters
from tests.fleet.fleet import Fleet, Report, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.server_process import attempts


LIFETIME = 4.0
#: No token is renewed in the first three quarters of its life.
LEAST_GAP = 0.74 * LIFETIME
REFRESH_LATENCY = 0.3
#: Renewals that there are at least, unless workers are killed.
RENEWALS = 3
KILL_EVERY = 2.0
WORKERS = 6
TASKS = 4


@attrs.frozen(kw_only=True)
class Outcome:
    """
    The result of a load.

    Attributes:
        seconds: How long it took.
        requests: Those of the workers that survived.
        failures: Why some of these failed.
        counters: Those of the server.
        gaps: Seconds between the moments at which workers began two exchanges.
        kills: How many workers were killed …
        mid_refresh: … and how many of these while the server held their refresh back.
    """

    seconds: float
    requests: int
    failures: tuple[str, ...]
    counters: SandboxCounters
    gaps: tuple[float, ...]
    kills: int
    mid_refresh: int

    @property
    def problems(self) -> list[str]:
        """Return what went wrong."""
        found = list(self.failures[:10])
        if self.counters.reuses:
            found.append(f"{self.counters.reuses} refresh tokens were sent twice")
        # A worker that is killed in an exchange takes its token along.
        if self.counters.connects > 1 + self.kills:
            found.append(f"{self.counters.connects} logins")
        if not self.kills and min(self.gaps, default=LIFETIME) < LEAST_GAP:
            found.append(f"two exchanges within {min(self.gaps):.2f} s")
        return found

    def __str__(self) -> str:
        """Return it for a table."""
        counters = self.counters
        return (
            f"{self.requests:,} requests in {self.seconds:.0f} s, {len(self.failures)} failed, "
            f"{counters.connects} logins, {counters.refreshes} renewals, {counters.reuses} reuses, "
            f"{self.kills} killed ({self.mid_refresh} in a refresh), least gap {min(self.gaps, default=0):.2f} s"
        )


def run_load(
    sandbox: Sandbox, config: WorkerConfig, *, seconds: float, kills: bool, seed: int
) -> Outcome:
    """Run the load on a fresh *sandbox* for *seconds*, and longer until enough has happened."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    sandbox.lifetime, sandbox.refresh_latency = LIFETIME, REFRESH_LATENCY
    killed = mid_refresh = exchanges = 0
    with Fleet(sandbox, config) as fleet:
        fleet.start(WORKERS)
        began = last = time.monotonic()
        fleet.start_load(TASKS)
        if not kills:
            time.sleep(seconds)
            sandbox.wait_until(lambda counters: counters.refreshes_ok >= RENEWALS, PATIENCE)
        while kills and (time.monotonic() < began + seconds or not 0 < mid_refresh < killed):
            if killed % 2:
                time.sleep(max(0.0, last + KILL_EVERY - time.monotonic()))
                fleet.kill(rng.choice(fleet.workers))
            else:
                mid_refresh += _kill_in_refresh(fleet)
            last = time.monotonic()
            killed += 1
            exchanges = sandbox.counters.exchanges
            (fresh,) = fleet.start(1)
            fresh.start_load(TASKS)
        if kills:
            # What the last kill left behind shows in what the next worker sends.
            sandbox.wait_until(lambda counters: counters.exchanges > exchanges, PATIENCE)
        # Before they are stopped: a worker that is stopped in a renewal leaves a spent token behind.
        counters, gaps = sandbox.counters, fleet.gaps()
        reports = fleet.ask_all("stop")
        elapsed = time.monotonic() - began
    return Outcome(
        seconds=elapsed,
        requests=sum(report.sent for report in reports),
        failures=tuple(_failures(reports)),
        counters=counters,
        gaps=tuple(gaps),
        kills=killed,
        mid_refresh=mid_refresh,
    )


def _kill_in_refresh(fleet: Fleet) -> bool:
    """Kill a worker that renews; return whether it was the one whose refresh was held back."""
    with fleet.sandbox.hold("refresh") as gate:
        gate.wait_until(1, PATIENCE)
        # It may be another worker's, if the message of the one that renews has not arrived yet.
        for _ in attempts():
            if fleet.last_exchanging is not None:
                break
        assert fleet.last_exchanging is not None
        fleet.kill(fleet.last_exchanging)
        end = time.monotonic() + LIFETIME / 2
        while gate.waiting and time.monotonic() < end:
            time.sleep(0.01)
        return not gate.waiting


def _failures(reports: Iterable[Report]) -> list[str]:
    return [failure for report in reports for failure in report.failures]
