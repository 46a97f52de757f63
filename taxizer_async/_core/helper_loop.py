"""
The event loop of a helper thread, and the calls that are made in it.

Which thread runs it, and when another one takes its place, is the matter of `helper_thread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, final

from taxizer_async._core.event_loops import GRACE, OWNER, EventLoop
from taxizer_async._core.policy import BLOCKED_AFTER
from taxizer_async._core.threads import AbandonableCalls
from taxizer_async._core.turns import SilentTurns


T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds.
_SIGNALS_HANDLED_EVERY: Final = 0.5
#: Seconds that connections and async generators get to close when the loop ends.
_CLOSED_FOR: Final = 1.0
#: Seconds that tasks get to end then: those of `start_task` take up to their grace period.
_CANCELLED_FOR: Final = GRACE + 1.0
#: How many look-ups of host names may hang.
_MOST_LOOKUPS: Final = 64

_lookups: Final = AbandonableCalls(_MOST_LOOKUPS)


@final
class BlockedError(Exception):
    """Code of the user's blocks the event loop of the helper thread, or of as many as its account may block."""


@final
class Call(Generic[T]):
    """
    A call that is made in the helper thread.

    Its lock is Python's own: those of `concurrent.futures` may stay taken when a KeyboardInterrupt strikes the
    caller, and would stop the thread that serves all others.

    Args:
        make: Makes it.
        owner: The account that it is made for.
        loop: The event loop that it is made in.
    """

    __slots__ = ("__weakref__", "_ended", "_make", "_task", "loop", "owner")

    def __init__(
        self, make: Callable[[], Coroutine[Any, Any, T]], owner: object, loop: HelperLoop
    ) -> None:
        self._make = make
        self.owner = owner
        self.loop = loop
        self._task: asyncio.Task[T] | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    @property
    def is_over(self) -> bool:
        return self not in self.loop.calls

    @property
    def may_be_made(self) -> bool:
        """Whether it has not ended, and its event loop was neither left, as it is blocked, nor is it a parent's."""
        return not (self.is_over or self.loop.is_left) and self.loop.pid == os.getpid()

    @property
    def is_blocked_by_owner(self) -> bool:
        """Whether what now runs in its event loop works for the same account, or can't work for another one."""
        if self.loop.owner is not None:
            return self.loop.owner is self.owner
        # A protocol of the user's, or what a thread of the user's has scheduled.
        calls: list[Call[Any]] = list(self.loop.calls)
        return all(call.owner is self.owner for call in calls)

    def result(self) -> T:
        """
        Wait for its end, once; an exception in this thread cancels it.

        Raises:
            CancelledError: If its event loop ended first.
            BlockedError: If its event loop has not reacted for `BLOCKED_AFTER` seconds.
        """
        try:
            self._wait()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self._cancel)
            raise
        task, self._task = self._task, None
        try:
            if task is None or not task.done():
                raise asyncio.CancelledError
            return task.result()
        finally:
            # Its exception has this frame in its traceback: a cycle.
            del task

    def _wait(self) -> None:
        # Of this thread, so that its own stall is not taken for the loop's.
        silent = SilentTurns(EventLoop(self.loop))
        # A signal that comes just before a thread blocks is handled only when it wakes up.
        while not self._ended.acquire(timeout=_SIGNALS_HANDLED_EVERY):
            if silent.count() * _SIGNALS_HANDLED_EVERY >= BLOCKED_AFTER:
                raise BlockedError

    def begin(self) -> None:
        """Make it, in the event loop's thread."""
        if not self.loop.is_ending:
            self._task = asyncio.Task(self._make(), loop=self.loop)
            self.loop.running += 1
            self._task.add_done_callback(self._note_end)

    def end(self) -> None:
        self.loop.calls.discard(self)
        self._ended.release()

    def _note_end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # or asyncio logs that nobody has seen it
        self.loop.running -= 1
        self.loop.changed.set()
        self.end()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


@final
class HelperLoop(asyncio.SelectorEventLoop):
    """
    The event loop of a helper thread; its end waits for no other thread, and for no task that will not end.

    Attributes:
        before_end: What closes the connections that were opened in it.
        calls: Those that have not ended.
        running: How many of them have begun.
        changed: Set when a call has ended.
        is_ending: Whether no more calls begin.
        is_left: Whether later calls are made in another thread.
        owner: The account that the code which now runs works for, if that is known.
        thread: The thread that it runs in.
        pid: The process that it runs in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before_end: list[Callable[[], Awaitable[object]]] = []
        self.calls: set[Call[Any]] = set()
        self.running = 0
        self.changed = asyncio.Event()
        self.is_ending = self.is_left = False
        self.thread = 0
        self.pid = os.getpid()
        self.owner: object = None

    def __del__(self) -> None:
        """Close one whose thread was interrupted before it ran, or that was only made in part."""
        with contextlib.suppress(Exception):
            self.close()

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        """Look a host name up, in the thread of this loop if no other can be started."""
        return await _lookups.run(partial(socket.getaddrinfo, *args, **options), needs_thread=False)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._note_owner, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._note_owner, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._note_owner, callback, *args, context=context)

    def add_reader(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        super().add_reader(fd, self._note_owner, callback, *args)

    def add_writer(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        super().add_writer(fd, self._note_owner, callback, *args)

    def _note_owner(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Run *callback* in its context, which is a copy of that of the code that has scheduled it."""
        before, self.owner = self.owner, OWNER.get()
        try:
            callback(*args)
        finally:
            self.owner = before

    def end(self) -> None:
        """Cancel all tasks and close, while it does not run; what does not end in time is left behind."""
        try:
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
            self.run_until_complete(self._end(tasks))
        finally:
            self.close()

    async def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCELLED_FOR)
        generators = self.create_task(self.shutdown_asyncgens())
        await asyncio.wait([generators], timeout=_CLOSED_FOR)

    async def close_connections(self) -> None:
        for close in self.before_end:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(close(), _CLOSED_FOR)
