"""A short run: the rules are those of the long one, which `nox -s hour` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.campaigns.hour import course
from tests.campaigns.soak.program import run_program


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Callers of all kinds lose no request that the policy could save, and leave nothing behind."""
    brief = ("--brief", "--seed", "1", "--output", str(tmp_path))

    told = run_program("tests.campaigns.hour.run", *brief)

    samples = course.read(tmp_path / "hour.csv")
    assert "clean: seed 1" in told
    assert samples[-1].loops > 0
    assert {sample.tasks_trio for sample in samples} != {0}
