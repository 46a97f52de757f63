"""A Redis that fails over, moves or dies in the middle of a renewal, or of a cold start."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.faults import (
    COLD_TASKS,
    COLD_WORKERS,
    WORKERS,
    fail_over,
    kill_in_cold_start,
    move_slots,
)
from tests.support.redis_server import RedisServer


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_failover_in_mid_renewal_fails_no_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """A Sentinel promotes a replica that has the lease and the mark: no refresh token is sent twice."""
    course = fail_over(sandbox, tmp_path)

    assert course.problems == []
    # A worker waits for the new primary for a second or two, as its token lasts for 20 s only.
    assert course.counters.connects <= 1 + course.failing


def test_a_failover_that_loses_a_renewal_fails_no_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """The replica has neither the mark nor the new token: a refresh token may be sent twice, and a login follows."""
    course = fail_over(sandbox, tmp_path, loses=True)

    assert course.failures == ()
    assert course.counters.connects <= 1 + WORKERS + 1


def test_a_slot_that_moves_in_mid_renewal_costs_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """The lease and the record go to another server of the cluster: the renewal is saved there."""
    course = move_slots(sandbox, tmp_path)

    assert course.problems == []
    assert course.counters.connects == 1


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_redis_that_dies_in_a_cold_start_fails_no_request(
    sandbox: Sandbox, redis_server: RedisServer, comes_back: bool
) -> None:
    """Each worker has its token, at the cost of a login of its own at most."""
    course = kill_in_cold_start(sandbox, redis_server, comes_back=comes_back)

    assert course.problems == []
    assert course.sent == COLD_WORKERS * COLD_TASKS
    assert course.counters.connects <= COLD_WORKERS
