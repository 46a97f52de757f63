"""
A short-lived thread with an event loop, which does what threads without one wait for.

All sync callers of a process share it. It begins with the first call that has to wait, and ends when no call
is left and no task that a call has started: a refresh is finished, though its callers have gone.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import socket
import threading
import time

from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from taxizer_async._core.event_loops import independent_tasks
from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import AbandonableCalls, start_thread


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


T = TypeVar("T")

#: Seconds that a refresh gets to finish when the program ends.
_JOINED_FOR: Final = 2.0
#: Seconds that connections get to close when the loop ends.
_CLOSED_FOR: Final = 1.0
#: How many look-ups of host names may hang.
_MOST_LOOKUPS: Final = 64


@final
class HelperLoop(asyncio.SelectorEventLoop):
    """
    The event loop of a helper thread; it has no executor, so that its end waits for no thread.

    Attributes:
        before_end: What closes the connections that were opened in it.
        changed: Set when a call has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before_end: list[Callable[[], Awaitable[object]]] = []
        self.changed = asyncio.Event()

    def __del__(self) -> None:
        """Say nothing of one that found no descriptor, and was only made in part; all others are closed."""

    def note_end(self, _: object) -> None:
        """Note, from any thread, that a call has ended."""
        with contextlib.suppress(RuntimeError):  # so has the loop
            self.call_soon_threadsafe(self.changed.set)

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        """Look a host name up, in the thread of this loop if no other can be started."""
        return await _lookups.run(partial(socket.getaddrinfo, *args, **options), needs_thread=False)

    async def close_connections(self) -> None:
        """Close what was opened in it."""
        for close in self.before_end:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(close(), _CLOSED_FOR)


def submit(call: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """
    Have *call* made in the helper thread of this process; cancelling the future cancels the call alone.

    Raises:
        NoThreadError: If no thread can be started.
        OSError: If there is no descriptor for an event loop.
    """
    return _helper.get().submit(call)


def run_here(call: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """
    Make *call* in an event loop in this thread, which has none, where no other thread can be started.

    Raises:
        OSError: If there is no descriptor for an event loop.
    """

    async def run() -> T:
        try:
            return await call()
        finally:
            await loop.close_connections()

    loop, future = HelperLoop(), Future[T]()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            future.set_result(runner.run(run(), context=Context()))
        except Exception as cause:  # noqa: BLE001 - the caller raises it
            future.set_exception(cause)
    return future


@final
class _Helper:
    """The helper thread of one process, if it runs."""

    __slots__ = ("_loop", "_mutex", "_pending")

    def __init__(self) -> None:
        # Held for a few statements, or while the thread starts.
        self._mutex = threading.Lock()
        self._loop: HelperLoop | None = None
        self._pending: set[Future[Any]] = set()

    def submit(self, call: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        with self._mutex:
            loop = self._loop or self._start()
            # In a context of its own: the caller's may say that trio runs.
            future = Context().run(asyncio.run_coroutine_threadsafe, call(), loop)
            self._pending.add(future)
            future.add_done_callback(loop.note_end)
        return future

    def _start(self) -> HelperLoop:
        loop = HelperLoop()
        self._loop = loop
        try:
            thread = start_thread(lambda: Context().run(self._run, loop), "taxizer_async sync")
        except RuntimeError:
            self._loop = None
            loop.close()
            raise
        _join_at_exit(thread)
        return loop

    def _run(self, loop: HelperLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._serve(loop))
        finally:
            # A KeyboardInterrupt of the user's code, or the like, has ended it early.
            with self._mutex:
                if self._loop is loop:
                    self._loop = None

    async def _serve(self, loop: HelperLoop) -> None:
        while True:
            loop.changed.clear()
            with self._mutex:
                self._pending = {each for each in self._pending if not each.done()}
                tasks = independent_tasks(loop)
                if not self._pending and not tasks:
                    # From here on callers start another.
                    self._loop = None
                    break
            await (loop.changed.wait() if self._pending else asyncio.wait(tasks))
        await loop.close_connections()


_helper: Final = PerProcess(_Helper)
_lookups: Final = AbandonableCalls(_MOST_LOOKUPS)
_threads: Final[list[threading.Thread]] = []


def _join_at_exit(thread: threading.Thread) -> None:
    if not _threads:
        atexit.register(_join_all)
    _threads[:] = [*(each for each in _threads if each.is_alive()), thread]


def _join_all() -> None:
    deadline = time.monotonic() + _JOINED_FOR
    for thread in _threads:
        thread.join(max(0.0, deadline - time.monotonic()))
