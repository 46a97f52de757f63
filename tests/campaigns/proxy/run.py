"""
`python -m tests.campaigns.proxy.run --seconds 600`: exits with 1 if a promise is broken.

Half of the processes run asyncio and share a Redis, half run trio, where redis-py does not, and share a file. No request may fail because of a credential,
none at all unless the API's own path is sick, no refresh token may be sent twice, and no process may grow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time

from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import attrs
import httpx

from taxizer_async.testing import Sandbox
from tests.campaigns.proxy.nginx import Nginx
from tests.campaigns.proxy.schedule import Slot, slots
from tests.campaigns.soak.bounds import MORE_RESIDENT
from tests.campaigns.soak.census import resident
from tests.fleet.fleet import Fleet, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fleet.fleet import Report, Worker


#: Processes, and the coroutines of each that send requests.
WORKERS: Final = 16
TASKS: Final = 4
#: Seconds between two requests of a coroutine: two cores serve all.
PAUSE: Final = 0.5
#: Seconds that a request waits for the API.
TIMEOUT: Final = 10.0
#: How much more a process may have in the end than after a quarter: connections and threads that are pooled come
#: and go.
MORE: Final = {"resident": MORE_RESIDENT, "files": TASKS, "threads": 2, "tasks": 0}


@attrs.frozen(kw_only=True)
class Row:
    """
    What came of a slot.

    Attributes:
        slot: The fault, and when it came.
        requests: How many requests ended.
        failed: What our own errors said, and those of the API while its path was well.
        unanswered: How many requests the API left without an answer while its path was sick.
        tried: How many exchanges began while the fault lasted.
        logins, refreshes, reuses: The sandbox's counts.
        longest: Seconds of the longest request.
        load: The machine's load average.
    """

    slot: Slot
    requests: int
    failed: list[str]
    unanswered: int
    tried: int
    logins: int
    refreshes: int
    reuses: int
    longest: float
    load: float

    def __str__(self) -> str:
        """Return it for the table."""
        return (
            f"{self.slot.path:7} {self.slot.fault:10} {self.requests:8,} {len(self.failed):7} {self.unanswered:11}"
            f" {self.tried:6} {self.logins:7} {self.refreshes:10} {self.reuses:7} {self.longest:8.2f} s {self.load:6.1f}"
        )

    @property
    def problems(self) -> Iterator[str]:
        """What must not have happened, or should have."""
        yield from (f"{self.slot.name}: {told}" for told in self.failed[:10])
        if self.reuses:
            yield f"{self.slot.name}: {self.reuses} refresh tokens were sent twice"
        if not self.requests:
            yield f"{self.slot.name}: no request was sent"
        if not self.tried and self.slot.path != "api":
            yield f"{self.slot.name}: no exchange was tried"


HEAD: Final = "path    fault      requests  failed  unanswered  tried  logins  refreshes  reuses     longest   load"


@attrs.frozen(kw_only=True)
class Size:
    """What a process has: bytes of memory, descriptors, threads, tasks."""

    resident: int
    files: int
    threads: int
    tasks: int

    @classmethod
    def of(cls, worker: Worker, tasks: int) -> Size:
        """Measure a process that has so many *tasks*."""
        folder = Path(f"/proc/{worker.pid}")
        files, threads = (len(list((folder / each).iterdir())) for each in ("fd", "task"))
        return cls(resident=resident(worker.pid), files=files, threads=threads, tasks=tasks)

    def __str__(self) -> str:
        """Return it for a line."""
        megabytes = self.resident / 2**20
        return f"{megabytes:5.1f} MiB, {self.files:2} files, {self.threads} threads, {self.tasks} tasks"


@final
class Run:
    """Takes *fleet* through slots of faults of *nginx*."""

    def __init__(self, fleet: Fleet, nginx: Nginx) -> None:
        self._fleet = fleet
        self._sandbox = fleet.sandbox
        self._nginx = nginx
        self._idle = [report.tasks for report in fleet.ask_all("report")]
        self._heard = [0] * len(self._idle)
        self._sent = 0
        self._longest = 0.0

    def go(self, seconds: float, only: str) -> Iterator[str]:
        """Do so for *seconds*, print the table, and yield what went wrong."""
        began = time.monotonic()
        first: list[Size] = []
        self._fleet.start_load(TASKS)
        print(HEAD, flush=True)  # noqa: T201
        for slot in slots(only):
            row = self._meet(slot)
            print(row, flush=True)  # noqa: T201
            yield from row.problems
            elapsed = time.monotonic() - began
            if elapsed >= seconds:
                break
            if not first and elapsed >= seconds / 4:
                first = self._sizes()
                self._fleet.start_load(TASKS)
        last = self._sizes()
        yield from _grown(first or last, last)

    def _meet(self, slot: Slot) -> Row:
        """Let *slot* happen, and wait until all processes have a new token."""
        sandbox, fleet = self._sandbox, self._fleet
        sandbox.lifetime = slot.lifetime
        self._wait_for_tokens(self._ask("forget"))
        before, self._longest = sandbox.counters, 0.0
        time.sleep(max(0.0, fleet.exchanges[-1] + slot.age - time.monotonic()))
        reports, tried = self._ask("report"), len(fleet.exchanges)
        self._nginx.break_path(slot.path, slot.fault)
        time.sleep(slot.lasts)
        tried = len(fleet.exchanges) - tried
        self._nginx.heal()
        time.sleep(slot.calm)
        reports = self._ask("report") if slot.path == "api" else self._wait_for_tokens(reports)
        sent, self._sent = self._sent, sum(report.sent for report in reports)
        failures = list(self._news(reports))
        unanswered = [each for each in failures if slot.path == "api" and _is_of_http(each)]
        after = sandbox.counters
        return Row(
            slot=slot,
            requests=self._sent - sent,
            failed=[each for each in failures if each not in unanswered],
            unanswered=len(unanswered),
            tried=tried,
            logins=after.connects - before.connects,
            refreshes=after.refreshes - before.refreshes,
            reuses=after.reuses - before.reuses,
            longest=self._longest,
            load=os.getloadavg()[0],
        )

    def _ask(self, command: str) -> list[Report]:
        reports = self._fleet.ask_all(command)
        self._longest = max(self._longest, *(report.longest for report in reports))
        return reports

    def _wait_for_tokens(self, before: list[Report]) -> list[Report]:
        """Wait until each process has had a new token since *before*, and return what all report then."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = self._ask("report")
            if all(_tokens(new) > _tokens(old) for old, new in zip(before, now, strict=True)):
                return now
            time.sleep(0.5)
        msg = "some processes have no new token"
        raise TimeoutError(msg)

    def _news(self, reports: list[Report]) -> Iterator[str]:
        """Yield the failures that no earlier report had."""
        for number, report in enumerate(reports):
            yield from report.failures[self._heard[number] :]
            self._heard[number] = len(report.failures)

    def _sizes(self) -> list[Size]:
        """Stop the load, and measure all processes once they are idle, or should be."""
        reports = self._fleet.ask_all("stop")
        deadline = time.monotonic() + 2 * TIMEOUT
        while _busy(reports, self._idle) and time.monotonic() < deadline:
            time.sleep(0.1)
            reports = self._fleet.ask_all("report")
        return [
            Size.of(worker, report.tasks)
            for worker, report in zip(self._fleet.workers, reports, strict=True)
        ]


def _tokens(report: Report) -> int:
    return report.logins + report.renewals + report.adoptions


def _busy(reports: list[Report], idle: list[int]) -> bool:
    return any(report.tasks > tasks for report, tasks in zip(reports, idle, strict=True))


def _is_of_http(failure: str) -> bool:
    """Return whether *failure* is an error of httpx, and none of ours."""
    return hasattr(httpx, failure.partition(":")[0])


def _grown(first: list[Size], last: list[Size]) -> Iterator[str]:
    """Print the sizes, and yield what has grown."""
    for number, (before, after) in enumerate(zip(first, last, strict=True)):
        print(f"process {number:2}: {before}; then {after}")  # noqa: T201
        for name, allowance in MORE.items():
            more = getattr(after, name) - getattr(before, name)
            if more > allowance:
                yield f"process {number} has {more:,} more {name}"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Let an nginx delay, break and lose connections.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--only", default="", help="slots whose names have this in them")
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        Sandbox() as sandbox,
        RedisServer(Path(name)) as redis,
    ):
        ports = {"tokens": sandbox.port, "api": sandbox.port, "redis": redis.port}
        with Nginx(Path(name), ports) as nginx:
            at = {path: f"127.0.0.1:{port}" for path, port in nginx.ports.items()}
            config = WorkerConfig(
                store=("redis", f"redis://{at['redis']}"),
                base_url=f"http://{at['tokens']}",
                api=f"http://{at['api']}",
                timeout=TIMEOUT,
                policy={},
                pause=PAUSE,
            )
            with Fleet(sandbox, config) as fleet:
                fleet.start(WORKERS // 2)
                fleet.start(WORKERS // 2, backend="trio", store=("file", f"{name}/tokens"))
                problems = 0
                for problem in Run(fleet, nginx).go(wanted.seconds, wanted.only):
                    print(f"BROKEN: {problem}", flush=True)  # noqa: T201
                    problems += 1
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
