"""Runs an async call in a forked child."""

from __future__ import annotations

import os

from collections.abc import Callable
from typing import Any

import anyio
import pytest


#: Marks a test that forks.
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def fork(call: Callable[[], Any], backend: str = "asyncio") -> int:
    """Run *call* in a child, and return that one's process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            anyio.run(call, backend=backend)
            status = 0
        finally:
            os._exit(status)
    return child


def exit_code(child: int) -> int:
    """Wait for *child*, and return what it exited with."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
