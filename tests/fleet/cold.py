"""
How soon a cold fleet starts working after its one login.

`python -m tests.fleet.cold [--rounds N] [--store file|redis]` prints it, and fails if a request did, if
there was a second login, or if a worker began more than 300 ms after the login.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

from pathlib import Path

import attrs

from taxizer_async.testing import Sandbox, SandboxCounters
from tests.fleet.fleet import Fleet, WorkerConfig
from tests.support.redis_server import RedisServer


WORKERS = 8
TASKS = 20
LOGIN = 1.0
#: Seconds from the end of the login until the last worker begins its request.
LONGEST = 0.3


@attrs.frozen(kw_only=True)
class Start:
    """
    The result of a start.

    Attributes:
        counters: Those of the server.
        failures: Why some requests failed.
        begun: Seconds from the end of the login until the last worker had its token and began ...
        arrived: ... and until the last request reached the server, which shares the fleet's processor.
    """

    counters: SandboxCounters
    failures: tuple[str, ...]
    begun: float
    arrived: float

    @property
    def problems(self) -> list[str]:
        """Return what went wrong."""
        found = list(self.failures[:10])
        if self.counters.exchanges != 1:
            found.append(f"{self.counters.exchanges} exchanges")
        if self.counters.resources_ok != WORKERS * TASKS:
            found.append(f"{self.counters.resources_ok} requests were accepted")
        if self.begun > LONGEST:
            found.append(f"the last one began {self.begun * 1000:.0f} ms after the login")
        return found


def start_cold(sandbox: Sandbox, config: WorkerConfig) -> Start:
    """Start the fleet on a fresh *sandbox*."""
    sandbox.connect_latency = LOGIN
    with Fleet(sandbox, config) as fleet:
        fleet.start(WORKERS)
        reports = fleet.ask_all(f"burst {TASKS}")
    logged_in_at = sandbox.exchange_log[0].finished_at
    return Start(
        counters=sandbox.counters,
        failures=tuple(failure for report in reports for failure in report.failures),
        begun=max(report.last_served for report in reports) - logged_in_at,
        arrived=max(entry.received_at for entry in sandbox.resource_log) - logged_in_at,
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", choices=["file", "redis"], default="file")
    wanted = parser.parse_args()
    failed = False
    for _ in range(wanted.rounds):
        with (
            tempfile.TemporaryDirectory() as folder,
            RedisServer(Path(folder)) as server,
            Sandbox() as sandbox,
        ):
            where = server.url if wanted.store == "redis" else f"{folder}/tokens"
            start = start_cold(sandbox, WorkerConfig(store=(wanted.store, where), policy={}))
        print(  # noqa: T201
            f"{wanted.store}: {start.counters.connects} login, {start.counters.resources_ok} requests, "
            f"{len(start.failures)} failed; the last one began {start.begun * 1000:.0f} ms after the "
            f"login, and was at the server after {start.arrived * 1000:.0f} ms"
        )
        for problem in start.problems:
            print(problem)  # noqa: T201
        failed = failed or bool(start.problems)
    return failed


if __name__ == "__main__":
    sys.exit(main())
