"""
A fleet under steady load whose tokens last 4 s, with or without workers that are killed.

`python -m tests.fleet.load [--seconds N] [--kills] [--store file|redis]` prints the result, and
fails if a request did, if a refresh token was sent twice, or if there were too many exchanges.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from taxizer_async.testing import Sandbox, SandboxCounters
from tests.fleet.fleet import Fleet, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer
from tests.support.server_process import attempts


if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fleet.fleet import Report


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
        counters, begun = sandbox.counters, sorted(fleet.exchanges)
        reports = fleet.ask_all("stop")
        elapsed = time.monotonic() - began
    return Outcome(
        seconds=elapsed,
        requests=sum(report.sent for report in reports),
        failures=tuple(_failures(reports)),
        counters=counters,
        gaps=tuple(later - earlier for earlier, later in itertools.pairwise(begun)),
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


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--store", choices=["file", "redis"], default="file")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as server,
        Sandbox() as box,
    ):
        where = server.url if wanted.store == "redis" else f"{folder}/tokens"
        outcome = run_load(
            box,
            # The timeouts that users have, not the longer ones of tests.
            WorkerConfig(store=(wanted.store, where), policy={}),
            seconds=wanted.seconds,
            kills=wanted.kills,
            seed=wanted.seed,
        )
    counters = outcome.counters
    print(  # noqa: T201
        f"{wanted.store}{', kills' * wanted.kills}: {outcome.seconds:.0f} s, {outcome.requests:,} requests, "
        f"{len(outcome.failures)} failed, {counters.connects} logins, {counters.refreshes} renewals, "
        f"{counters.reuses} reuses, {outcome.kills} killed ({outcome.mid_refresh} in a refresh), "
        f"least gap {min(outcome.gaps, default=0):.2f} s"
    )
    for problem in outcome.problems:
        print(problem)  # noqa: T201
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
