"""A short soak: the rules are those of the long one, which `nox -s load` runs."""

from __future__ import annotations

import pytest

from tests.campaigns.soak.bounds import find_violations
from tests.campaigns.soak.soak import Plan, soak


PLAN = Plan(seconds=3.0, round_seconds=1.5, warm_up=1, workers=10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_and_nothing_is_left_behind() -> None:
    """Through faults at full speed no request fails that the policy could save, and nothing grows."""
    report = await soak(PLAN)

    assert find_violations(report) == []
