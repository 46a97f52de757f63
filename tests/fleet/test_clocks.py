"""Machines with different wall clocks."""

from __future__ import annotations

import itertools

from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fleet.fleet import PATIENT, Fleet
from tests.support.families import PATIENCE


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.fleet.fleet import WorkerConfig


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("config", ["file", "redis"], indirect=True)
@pytest.mark.parametrize("offset", [3600.0, -3600.0])
def test_clocks_an_hour_apart_cost_no_exchange(
    sandbox: Sandbox, config: WorkerConfig, offset: float
) -> None:
    """Two processes, one of them an hour off, share four lives of a token: one exchange each."""
    sandbox.lifetime = 2.0
    # A token may expire while a late request is on its way, which is then resent with the next one.
    policy = PATIENT | {"unauthorized_budget": 1_000}
    with Fleet(sandbox, attrs.evolve(config, policy=policy)) as fleet:
        fleet.start(1)
        fleet.start(1, wall_offset=offset)
        fleet.start_load(2)
        sandbox.wait_until(lambda counters: counters.exchanges >= 4, PATIENCE)
        # Before they are stopped: a worker that is stopped in a renewal leaves a spent token behind.
        begun, counters = sorted(fleet.exchanges), sandbox.counters
        reports = fleet.ask_all("stop")

    assert [report.failures for report in reports] == [[], []]
    assert counters.connects == 1
    assert all(
        later - earlier > 0.74 * sandbox.lifetime for earlier, later in itertools.pairwise(begun)
    )
