"""A process is killed at random moments of a save; `python -m tests.stores.kills` does it many times."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

from pathlib import Path

import pytest

from tests.support import families
from tests.support.families import PATIENCE
from tests.support.server_process import attempts


KILLS = 100
COMMAND = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", str(KILLS)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.report(79, 80)
def test_a_killed_save_leaves_a_whole_record_or_none() -> None:
    """After each kill, many of them during a save, the file loads or is absent, and the lock is free."""
    # In a process of its own, as pytest's may have threads, which a fork does not copy.
    done = families.run(COMMAND, limit=2 * PATIENCE)

    assert done.returncode == 0, done.stderr
    told = re.match(rf"clean: {KILLS:,} kills, (\d+) of them half-way .*, (\d+) diff", done.stdout)
    assert told is not None
    assert int(told[1]) > 0
    assert int(told[2]) > KILLS // 20


def test_who_saves_ends_with_who_kills(tmp_path: Path) -> None:
    """If the killing process is killed itself, the saving one ends, too."""
    with families.running(
        [*COMMAND, "--within", "100000"],
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as parent:
        stdout = parent.stdout
        assert stdout is not None
        for _ in attempts():
            if list(tmp_path.glob("*/tokens/*.json")):
                break
        # The saving process has this pipe, too, so it ends with both.
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(stdout.read()))
        reader.start()
        parent.send_signal(signal.SIGKILL)
        reader.join(PATIENCE)

        assert said == [""]
