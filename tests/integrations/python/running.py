"""Runs `life.py` beneath, beside or within something else."""

from __future__ import annotations

import json
import os
import sys

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support import families
from tests.support.server_process import environment_of

from .life import EXPECTED


if TYPE_CHECKING:
    import subprocess

    from collections.abc import Sequence

    from taxizer_async.testing import Sandbox


ROOT: Final = str(Path(__file__).parents[3])
#: What that line begins with.
FIRST: Final = next(iter(EXPECTED))


def run_life(
    sandbox: Sandbox,
    prelude: str = "pass",
    *,
    options: Sequence[str] = (),
    beneath: Sequence[str] = (),
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run it with *options* of Python's, after *prelude*; *beneath* is a program that runs Python."""
    code = (
        f"import sys; sys.path.append({ROOT!r}); {prelude}; "
        "from tests.integrations.python.life import main; main()"
    )
    return families.run(
        [*beneath, sys.executable, *options, "-c", code],
        env={**os.environ, **environment_of(sandbox, **environment)},
    )


def costs_of(program: subprocess.CompletedProcess[str]) -> dict[str, list[int]]:
    """Return what each step cost, which it printed in a line."""
    assert program.returncode == 0, program.stderr
    (line,) = [each for each in program.stdout.splitlines() if each.startswith(f'{{"{FIRST}')]
    costs: dict[str, list[int]] = json.loads(line)
    return costs
