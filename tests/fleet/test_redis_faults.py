"""Faults of a Redis in use, under load: no request fails."""

from __future__ import annotations

import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.faults import FAULTS, run_fault
from tests.fleet.fleet import PATIENT, Fleet, WorkerConfig
from tests.support.redis_server import RedisServer


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_under_load_fails_no_request(
    sandbox: Sandbox, redis_server: RedisServer, fault: str
) -> None:
    """Redis pauses twice during a renewal, with renewals before and after it."""
    course = run_fault(sandbox, redis_server, fault, {"unauthorized_budget": 1_000})

    assert course.problems == []


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
