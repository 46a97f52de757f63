"""
Run all tasks until each waits, in the same order each time, on both backends.

The event loop's time-outs go by the simulated clock, too.
"""

from __future__ import annotations

import asyncio

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import sniffio
import trio
import trio.testing

from taxizer_async._token import provider, single_flight


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async.testing import ManualClock


#: Tasks that need more turns than this never wait.
_MOST_TURNS = 2_000


async def settle() -> bool:
    """Let all tasks run until each waits; return False if they never do."""
    if sniffio.current_async_library() == "trio":
        await trio.testing.wait_all_tasks_blocked()
        return True
    loop: Any = asyncio.get_running_loop()
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        if not loop._ready:
            return True
    return False


@contextmanager
def in_order(seed: int) -> Iterator[None]:
    """Make trio, which shuffles tasks on purpose, shuffle them in the same way for one *seed*."""
    run: Any = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before


@contextmanager
def on_clock(clock: ManualClock) -> Iterator[None]:
    """Make the running event loop, and the package's calls of `time`, go by *clock*."""
    with ExitStack() as stack:
        for module in (provider, single_flight):
            stub = SimpleNamespace(monotonic=clock.monotonic)
            stack.enter_context(mock.patch.object(module, "time", stub))
        if sniffio.current_async_library() == "trio":
            internals: Any = trio._core._run
            runner = internals.GLOBAL_RUN_CONTEXT.runner
            stack.enter_context(mock.patch.object(runner, "clock", _TrioClock(clock)))
        else:
            loop = asyncio.get_running_loop()
            stack.enter_context(mock.patch.object(loop, "time", clock.monotonic))
            # A timer that fires early would be set again and fire again at once.
            stack.enter_context(mock.patch.object(loop, "_clock_resolution", 0.0))
        yield


class _TrioClock(trio.abc.Clock):
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def start_clock(self) -> None:
        """Do nothing, as trio runs already."""

    def current_time(self) -> float:
        return self._clock.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self._clock.monotonic()
