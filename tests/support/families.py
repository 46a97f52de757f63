"""Processes that end with the test that has started them, and all that these have started, too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from collections.abc import Iterator, Sequence
from typing import Any, Final


#: Seconds that anything may take, on a slow machine that is busy with other tests.
PATIENCE: Final = 90.0


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start *command* as the first of a family, which `end` ends."""
    return subprocess.Popen(command, encoding="utf-8", start_new_session=True, **options)


def end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the family of *process*, those that are stopped as well."""
    # The group is there for as long as one of its processes is.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run *command* for the length of a `with`, whatever ends that."""
    process = start(command, **options)
    try:
        yield process
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def run(
    command: Sequence[str], *, limit: float = PATIENCE, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end, at most *limit* seconds, and return what it said."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(command, **pipes, **options) as process:
        stdout, stderr = process.communicate(timeout=limit)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
