"""
How a blocking call leaves the event loop: in a worker thread that no limit of the user's holds back.

Nothing here knows what is called.
"""

from __future__ import annotations

import os
import threading

from typing import TYPE_CHECKING, TypeVar, final

import anyio
import anyio.to_thread


if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


async def run_in_thread(call: Callable[[], T], *, abandon: bool = False) -> T:
    """
    Return what *call* returns in a worker thread.

    If *abandon* is set a cancellation does not wait for it: it goes on, and its result is dropped.
    """
    # anyio's own limit is shared with the user's blocking code, which may itself wait for a token.
    limiter = anyio.CapacityLimiter(1)
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=abandon, limiter=limiter)


@final
class AbandonableCalls:
    """
    Calls that a cancellation does not wait for, as what they wait for may never answer.

    Args:
        limit: So many may be under way: each is a thread.
    """

    __slots__ = ("_limit", "_mutex", "_pid", "_running")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._start_anew()

    async def run(self, call: Callable[[], T]) -> T:
        """
        Return what *call* returns in a worker thread.

        Raises:
            TimeoutError: If too many calls wait already.
        """
        if self._pid != os.getpid():
            # The threads are the parent's, and one of them may have held the mutex.
            self._start_anew()
        if self._running >= self._limit:
            msg = f"{self._running} earlier calls have not been answered"
            raise TimeoutError(msg)

        def counted() -> T:
            self._count(1)
            try:
                return call()
            finally:
                self._count(-1)

        # Counted in the thread, as a cancellation may keep it from being started.
        return await run_in_thread(counted, abandon=True)

    def _start_anew(self) -> None:
        self._mutex = threading.Lock()
        self._running = 0
        self._pid = os.getpid()

    def _count(self, change: int) -> None:
        with self._mutex:
            self._running += change
