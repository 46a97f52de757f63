"""What each event loop of a process has for itself."""

from __future__ import annotations

import threading

from collections.abc import Callable
from typing import Final, Generic, TypeVar, final
from weakref import WeakKeyDictionary

from taxizer_async._core.event_loops import EventLoop, running_loop
from taxizer_async._core.process import PerProcess


T = TypeVar("T")


@final
class PerLoop(Generic[T]):
    """A value for each event loop of a process, made in that loop when it is first asked for."""

    __slots__ = ("__weakref__", "_loops", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Final = make
        self._loops: Final = PerProcess(_Loops[T])

    def here(self) -> T:
        loop, loops = running_loop(), self._loops.get()
        with loops.mutex:
            if loop not in loops.values:
                # A value may refer to its loop, so the two may never be collected here.
                for ended in [each for each in loops.values if EventLoop(each).is_closed]:
                    del loops.values[ended]
                loops.values[loop] = self._make()
            return loops.values[loop]

    def pop(self) -> T | None:
        """Forget the value of the running event loop, and return it if there is one."""
        loops = self._loops.get()
        with loops.mutex:
            return loops.values.pop(running_loop(), None)


@final
class _Loops(Generic[T]):
    """The event loops of one process; *mutex* is held for a few statements."""

    __slots__ = ("mutex", "values")

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.values: WeakKeyDictionary[object, T] = WeakKeyDictionary()
