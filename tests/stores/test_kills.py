"""Killed at random moments of a save; `python -m tests.stores.kills` does it a thousand times."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.report(79)
def test_a_killed_save_leaves_a_whole_record_or_none() -> None:
    """Two hundred kills, some of them half-way through a save: each time the file loads, or is absent."""
    # In a process of its own, as pytest's may have threads, which a fork does not copy.
    done = subprocess.run(
        [sys.executable, "-m", "tests.stores.kills", "--kills", "200"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    told = re.match(r"clean: 200 kills, (\d+) of them half-way .*, (\d+) different", done.stdout)
    assert told is not None
    assert int(told[1]) > 0
    assert int(told[2]) > 50
