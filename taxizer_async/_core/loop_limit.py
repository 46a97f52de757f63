"""A limit on what is under way at the same time in an event loop."""

from __future__ import annotations

import asyncio
import threading

from typing import Final, final
from weakref import WeakKeyDictionary

import anyio

from taxizer_async._core.event_loops import running_loop
from taxizer_async._core.process import PerProcess


@final
class LoopLimit:
    """Lets *most* callers in at a time, in each event loop."""

    __slots__ = ("__weakref__", "_loops", "most")

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self._loops: Final = PerProcess(_Loops)

    def here(self) -> anyio.Semaphore:
        """Return the semaphore of the running event loop."""
        loop, loops = running_loop(), self._loops.get()
        with loops.mutex:
            semaphore = loops.semaphores.get(loop)
            if semaphore is None:
                # Callers that wait refer to their loop, so the two may never be collected here.
                for ended in [each for each in loops.semaphores if _is_closed(each)]:
                    del loops.semaphores[ended]
                semaphore = anyio.Semaphore(self.most, fast_acquire=True)
                loops.semaphores[loop] = semaphore
            return semaphore


@final
class _Loops:
    """The event loops of one process; *mutex* is held for a few statements."""

    __slots__ = ("mutex", "semaphores")

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.semaphores: WeakKeyDictionary[object, anyio.Semaphore] = WeakKeyDictionary()


def _is_closed(loop: object) -> bool:
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()
