"""Killed at random moments of a save; `python -m tests.stores.kills` does it as often as is asked."""

from __future__ import annotations

import re
import subprocess
import sys

from pathlib import Path

import pytest


KILLS = 100


@pytest.mark.report(79)
@pytest.mark.report(80)
def test_a_killed_save_leaves_a_whole_record_or_none() -> None:
    """However often, and often half-way through: the file loads or is absent, and the lock is free."""
    # In a process of its own, as pytest's may have threads, which a fork does not copy.
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", str(KILLS)],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    told = re.match(rf"clean: {KILLS:,} kills, (\d+) of them half-way .*, (\d+) diff", done.stdout)
    assert told is not None
    assert int(told[1]) > 0
    assert int(told[2]) > KILLS // 20
