"""Runs a program of `tests.campaigns` for a test, in a process of its own, so that all its memory is the program's."""

from __future__ import annotations

import os
import subprocess
import sys


def run_program(module: str, *arguments: str) -> str:
    """Run *module* with *arguments*, and return what it printed; it must have found nothing broken."""
    command = [sys.executable, "-m", module, *arguments]
    # What coverage keeps of a process would count as the program's memory.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    # It is found in the working directory, also where the tests must not look there for the package.
    environment = kept | {"PYTHONSAFEPATH": ""}
    done = subprocess.run(command, capture_output=True, check=False, env=environment, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
