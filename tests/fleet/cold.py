"""How soon a cold fleet starts working after its one login; `tests.fleet.campaign` prints it."""

from __future__ import annotations

import attrs

from taxizer_async.testing import Sandbox, SandboxCounters
from tests.fleet.fleet import Fleet, WorkerConfig


WORKERS = 8
TASKS = 20
LOGIN = 1.0
#: Seconds from the end of the login until the last worker begins its request.
LONGEST = 0.5


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

    def __str__(self) -> str:
        """Return it for a table."""
        return (
            f"{self.counters.connects} login, {self.counters.resources_ok} requests, "
            f"{len(self.failures)} failed; the last one began {self.begun * 1000:.0f} ms after the login"
        )


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
