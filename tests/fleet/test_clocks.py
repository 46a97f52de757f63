"""Machines with different wall clocks."""

from __future__ import annotations

import attrs
import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.faults import part_clocks
from tests.fleet.fleet import PATIENT, WorkerConfig


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("config", ["file", "redis"], indirect=True)
@pytest.mark.parametrize("offset", [3600.0, -3600.0])
def test_clocks_an_hour_apart_cost_no_exchange(
    sandbox: Sandbox, config: WorkerConfig, offset: float
) -> None:
    """Two processes, one of them an hour off, share four lives of a token: one exchange each."""
    # A token may expire while a late request is on its way, which is then resent with the next one.
    policy = PATIENT | {"unauthorized_budget": 1_000}
    course = part_clocks(sandbox, attrs.evolve(config, policy=policy), offset)

    assert course.problems == []
    assert course.counters.connects == 1
    assert course.least_gap > 0.74 * sandbox.lifetime
