from __future__ import annotations

import subprocess
import sys

import pytest


PROGRAM = """
import anyio, os, sys
from taxizer_async._threads import AbandonableCalls

calls = AbandonableCalls(1)
if sys.argv[1] == "stuck":
    calls._running = 1
else:
    calls._mutex.acquire()
child = os.fork()
if child == 0:
    os._exit(anyio.run(calls.run, lambda: 7))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("parent", ["stuck", "counting"])
def test_a_child_does_not_inherit_the_calls_of_its_parent(parent: str) -> None:
    """Whether a fork finds as many under way as there may be, or a thread that is counting one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, parent],
        capture_output=True,
        check=True,
        text=True,
        timeout=50,
    )

    assert done.stdout == "7\n"
