"""
What happens to a fleet: its Redis loses all, is silent, dies, fails over or moves; its clocks differ.

Each function works on a fresh sandbox; `tests.fleet.campaign` prints what they return.
"""

from __future__ import annotations

import functools
import time

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import redis

from taxizer_async.testing import Sandbox, SandboxCounters
from tests.fleet.fleet import Fleet, Report, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer, running_cluster_of_two, running_sentinel
from tests.support.server_process import attempts


#: Workers under load, and the requests that each has under way.
WORKERS, TASKS = 3, 4
#: Workers of a cold start, and the requests of each.
COLD_WORKERS, COLD_TASKS = 8, 20
#: Seconds that a token lasts: long enough for a failover between three quarters and nine tenths of it.
LIFETIME = 20.0
#: A Sentinel finds out after 30 s and tries again after 3 min unless told otherwise.
_QUICK_SENTINEL = ("down-after-milliseconds till 1000", "failover-timeout till 5000")
#: Seconds between two keys that are moved, while their slot belongs to neither server.
_BETWEEN_KEYS = 0.1


@attrs.frozen(kw_only=True)
class Course:
    """
    What a fault has cost.

    Attributes:
        sent: How many requests were sent.
        failures: Why some of them failed.
        counters: Those of the server.
        failing: How many workers found the store failing.
        took: Seconds until the fault was over.
        least_gap: The fewest seconds between the moments at which workers began two exchanges.
    """

    sent: int
    failures: tuple[str, ...]
    counters: SandboxCounters
    failing: int
    took: float
    least_gap: float

    @property
    def problems(self) -> list[str]:
        """Return what must not have happened."""
        reuses = self.counters.reuses
        return [*self.failures[:10], *([f"{reuses} refresh tokens were sent twice"] * bool(reuses))]

    def __str__(self) -> str:
        """Return it for a table."""
        counters = self.counters
        return (
            f"{self.sent:,} requests, {len(self.failures)} failed, {counters.connects} logins, "
            f"{counters.refreshes} renewals, {counters.reuses} reuses; "
            f"{self.failing} workers found the store failing; {self.took:.1f} s"
        )


def _restart(server: RedisServer) -> None:
    server.stop()
    server.start()


#: What happens to one server.
FAULTS: Mapping[str, Callable[[RedisServer], object]] = {
    "restart": _restart,
    "FLUSHALL": lambda server: server.ask("FLUSHALL"),
    # Longer than the default time-out of the store.
    "CLIENT PAUSE": lambda server: server.ask("CLIENT PAUSE 3000 ALL"),
    "connection reset": lambda server: server.ask("CLIENT KILL TYPE normal SKIPME yes"),
}


def run_fault(
    sandbox: Sandbox,
    server: RedisServer,
    fault: str,
    policy: Mapping[str, float],
    *,
    rounds: int = 2,
) -> Course:
    """Let *fault* happen in each of some renewals, with renewals before and after it."""
    sandbox.lifetime, sandbox.refresh_latency = 2.0, 0.2
    config = WorkerConfig(store=("redis", server.url), policy=policy, pause=0.1)
    with Fleet(sandbox, config) as fleet:
        fleet.start(WORKERS)
        fleet.start_load(TASKS)
        took = 0.0
        for _ in range(rounds):
            fleet.wait_for_exchange()
            began = time.monotonic()
            FAULTS[fault](server)
            took += time.monotonic() - began
            _wait_for_exchanges(sandbox, 2)
        return _end(fleet, took)


def part_clocks(sandbox: Sandbox, config: WorkerConfig, offset: float) -> Course:
    """Have two workers, the wall clock of one of which is *offset* seconds ahead, share four lives of a token."""
    sandbox.lifetime = 2.0
    with Fleet(sandbox, config) as fleet:
        fleet.start(1)
        fleet.start(1, wall_offset=offset)
        fleet.start_load(2)
        _wait_for_exchanges(sandbox, 4)
        # Before they are stopped: a worker that is stopped in a renewal leaves a spent token behind.
        gaps, counters = fleet.gaps(), sandbox.counters
        return attrs.evolve(_end(fleet, 0.0), counters=counters, least_gap=min(gaps))


def fail_over(sandbox: Sandbox, folder: Path, *, loses: bool = False) -> Course:
    """
    Kill a primary in mid-renewal; a Sentinel makes its replica the primary.

    With *loses* it is killed just after the renewal, none of which has reached the replica.
    """
    (folder / "replica").mkdir()
    with RedisServer(folder) as primary:
        options = ["--replicaof", "127.0.0.1", str(primary.port)]
        with (
            RedisServer(folder / "replica", options=options) as replica,
            running_sentinel(folder, primary.port, _QUICK_SENTINEL) as port,
        ):
            _wait_for_replica(port)

            def kill() -> None:
                primary.stop()
                _wait_for_primary(port, replica.port)

            def part() -> None:
                assert replica.ask("REPLICAOF NO ONE") == b"+OK\r\n"

            store = ("sentinel", str(port))
            if not loses:
                return _in_mid_renewal(sandbox, store, kill)
            return _in_mid_renewal(sandbox, store, part, afterwards=kill)


def move_slots(sandbox: Sandbox, folder: Path) -> Course:
    """Move the slot of the record, and of the lease, to another server in mid-renewal."""
    with running_cluster_of_two(folder) as cluster:
        return _in_mid_renewal(
            sandbox,
            ("cluster", cluster.server.url),
            lambda: cluster.move_all_keys(pause=_BETWEEN_KEYS),
        )


def kill_in_cold_start(sandbox: Sandbox, server: RedisServer, *, comes_back: bool) -> Course:
    """Kill Redis while the login of a cold fleet is under way."""
    config = WorkerConfig(store=("redis", server.url), policy={})
    with Fleet(sandbox, config) as fleet:
        fleet.start(COLD_WORKERS)
        with sandbox.hold("connect") as gate:
            for worker in fleet.workers:
                worker.order(f"burst {COLD_TASKS}")
            gate.wait_until(1, PATIENCE)
            began = time.monotonic()
            server.stop()
            if comes_back:
                server.start()
            else:
                gate.wait_until(COLD_WORKERS, PATIENCE)
            took = time.monotonic() - began
        return _course(fleet, [worker.report() for worker in fleet.workers], took)


def _in_mid_renewal(
    sandbox: Sandbox,
    store: tuple[str, str],
    change: Callable[[], object],
    *,
    afterwards: Callable[[], object] = lambda: None,
) -> Course:
    """Make *change* while the server holds a renewal back, and *afterwards* another; end after the next one."""
    sandbox.lifetime = LIFETIME
    with Fleet(sandbox, WorkerConfig(store=store, policy={}, pause=0.1)) as fleet:
        fleet.start(WORKERS)
        fleet.start_load(TASKS)
        with sandbox.hold("refresh") as gate:
            gate.wait_until(1, PATIENCE)
            began = time.monotonic()
            change()
        sandbox.wait_until(lambda counters: counters.refreshes_ok >= 1, PATIENCE)
        afterwards()
        took = time.monotonic() - began
        # It knows no more than what is in the store now.
        (newcomer,) = fleet.start(1)
        newcomer.start_load(TASKS)
        _wait_for_exchanges(sandbox, 1)
        return _end(fleet, took)


def _end(fleet: Fleet, took: float) -> Course:
    return _course(fleet, fleet.ask_all("stop"), took)


def _course(fleet: Fleet, reports: list[Report], took: float) -> Course:
    told = [any(event.startswith("StoreFailed") for event in each.events) for each in reports]
    return Course(
        sent=sum(report.sent for report in reports),
        failures=tuple(failure for report in reports for failure in report.failures),
        counters=fleet.sandbox.counters,
        failing=sum(told),
        took=took,
        least_gap=min(fleet.gaps(), default=0.0),
    )


def _wait_for_exchanges(sandbox: Sandbox, number: int) -> None:
    wanted = sandbox.counters.exchanges + number
    sandbox.wait_until(functools.partial(_has, wanted), PATIENCE)


def _has(exchanges: int, counters: SandboxCounters) -> bool:
    return counters.exchanges >= exchanges


def _wait_for_primary(sentinel: int, port: int) -> None:
    """Wait until the Sentinel has the server at *port* as the primary."""
    with redis.Redis(port=sentinel) as client:
        for _ in attempts():
            if client.sentinel_masters()["till"]["port"] == port:
                return


def _wait_for_replica(sentinel: int) -> None:
    """Wait until the Sentinel at that port knows of a replica that it can promote."""
    with redis.Redis(port=sentinel) as client:
        for _ in attempts():
            replicas = client.sentinel_slaves("till")
            if any(each["master-link-status"] == "ok" for each in replicas):
                return
