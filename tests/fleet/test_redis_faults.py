"""Faults of a Redis in use, under load: no request fails."""

from __future__ import annotations

import functools

from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import PATIENT, Fleet, WorkerConfig
from tests.support.families import PATIENCE


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.testing import Sandbox, SandboxCounters
    from tests.support.redis_server import RedisServer


def _restart(server: RedisServer) -> None:
    server.stop()
    server.start()


FAULTS: dict[str, Callable[[RedisServer], object]] = {
    "restart": _restart,
    "FLUSHALL": lambda server: server.ask("FLUSHALL"),
    "CLIENT PAUSE": lambda server: server.ask("CLIENT PAUSE 3000 ALL"),
    "connection reset": lambda server: server.ask("CLIENT KILL TYPE normal SKIPME yes"),
}


def _has(exchanges: int, counters: SandboxCounters) -> bool:
    return counters.exchanges >= exchanges


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_under_load_fails_no_request(
    sandbox: Sandbox, redis_server: RedisServer, fault: str
) -> None:
    """Redis pauses twice during a renewal, with renewals before and after it."""
    sandbox.lifetime, sandbox.refresh_latency = 2.0, 0.2
    # The pause is longer than the default timeout of the store.
    policy = {"unauthorized_budget": 1_000}
    config = WorkerConfig(store=("redis", redis_server.url), policy=policy, pause=0.1)
    with Fleet(sandbox, config) as fleet:
        fleet.start(3)
        fleet.start_load(4)
        for _ in range(2):
            fleet.wait_for_exchange()
            FAULTS[fault](redis_server)
            later = sandbox.counters.exchanges + 2
            sandbox.wait_until(functools.partial(_has, later), PATIENCE)
        reports = fleet.ask_all("stop")

    assert [report.failures for report in reports] == [[], [], []]
    assert sandbox.counters.reuses == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_store_that_is_back_is_used_again(sandbox: Sandbox, redis_server: RedisServer) -> None:
    """Each change between down and up is reported once; afterwards one login serves all again."""
    policy = PATIENT | {"unauthorized_budget": 1_000}
    config = WorkerConfig(store=("redis", redis_server.url), policy=policy)
    with Fleet(sandbox, config) as fleet:
        first, second = fleet.start(2)
        for _ in range(2):
            redis_server.stop()
            for _ in range(3):
                sandbox.revoke()
                assert first.ask("burst 2").failures == []
            redis_server.start()
            sandbox.revoke()
            assert first.ask("burst 2").failures == []
        exchanges = sandbox.counters.exchanges
        report = second.ask("burst 2")
        told = [event.partition("(")[0] for event in first.ask("report").events]

    assert report.failures == []
    assert report.adoptions == 1
    assert sandbox.counters.exchanges == exchanges
    assert [event for event in told if event.startswith("Store")] == [
        *("StoreFailed", "StoreRecovered"),
        *("StoreFailed", "StoreRecovered"),
    ]
