"""A short run: the rules are those of the long one, which `nox -s hour` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from tests.campaigns.hour.long_run import Plan, long_run
from tests.campaigns.soak.weather import LIFETIME, POLICY


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Callers of all kinds lose no request that the policy could save, and leave nothing behind."""
    plan = Plan(
        seconds=4.0,
        warm_up=4.0,
        lifetime=LIFETIME,
        policy=POLICY,
        interval=0.2,
        pause=0.3,
        brief=True,
        seed=1,
        output=tmp_path / "hour.csv",
    )
    report = anyio.run(long_run, plan, backend="asyncio")

    assert [*report.faults()] == []
    assert report.samples[-1].loops > 0
    assert {sample.tasks_trio for sample in report.samples} != {0}
