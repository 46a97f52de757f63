"""
A short-lived thread with an event loop, which does what threads without one wait for.

All sync callers of a process share it. It begins with the first call that has to wait, and ends when no call
is left and no task that a call has started: a refresh is finished, though its callers have gone.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
import time

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, Final, Generic, TypeVar, final

from taxizer_async._core.event_loops import EventLoop, OwnedTask, independent_tasks, owner_of
from taxizer_async._core.policy import BLOCKED_AFTER
from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import AbandonableCalls, NoThreadError, start_thread
from taxizer_async._core.turns import SilentTurns


T = TypeVar("T")

#: Seconds that a refresh gets to finish when the program ends.
_JOINED_FOR: Final = 2.0
#: Seconds.
_SIGNALS_HANDLED_EVERY: Final = 0.5
#: Seconds that connections get to close when the loop ends.
_CLOSED_FOR: Final = 1.0
#: How many look-ups of host names may hang.
_MOST_LOOKUPS: Final = 64
#: How many helper threads there may be, all but one of them blocked.
_MOST_THREADS: Final = 8


@final
class BlockedError(Exception):
    """The helper thread does nothing else, as code that it runs blocks its event loop."""


@final
class Call(Generic[T]):
    """
    A call that is made in the helper thread.

    Its lock is Python's own: those of `concurrent.futures` may stay taken when a KeyboardInterrupt strikes the
    caller, and would stop the thread that serves all others.

    Args:
        make: Makes it.
        owner: What it is made for, such as an account.
        loop: The event loop that it is made in.
    """

    __slots__ = ("_ended", "_make", "_owner", "_task", "loop")

    def __init__(
        self, make: Callable[[], Coroutine[Any, Any, T]], owner: object, loop: HelperLoop
    ) -> None:
        self._make = make
        self._owner = owner
        self.loop = loop
        self._task: OwnedTask[T] | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or will never end here, as it was made before this process was forked."""
        return self.loop.pid != os.getpid() or self not in self.loop.calls

    @property
    def may_be_made(self) -> bool:
        """Whether it has not ended, and its event loop is not one that was left, as it is blocked."""
        return not (self.is_over or self.loop.is_left)

    @property
    def is_blocked_by_owner(self) -> bool:
        """Whether what now runs in its event loop does so on behalf of the same owner."""
        return owner_of(asyncio.current_task(self.loop)) is self._owner

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
            self._task = OwnedTask(self._make(), loop=self.loop)
            self._task.owner = self._owner
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
    The event loop of a helper thread; it has no executor, so that its end waits for no thread.

    Attributes:
        before_end: What closes the connections that were opened in it.
        calls: Those that have not ended.
        running: How many of them have begun.
        changed: Set when a call has ended.
        is_ending: Whether no more calls begin.
        is_left: Whether later calls are made in another thread.
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
        self.set_task_factory(_start_owned)

    def __del__(self) -> None:
        """Close one whose thread was interrupted before it ran, or that was only made in part."""
        with contextlib.suppress(Exception):
            self.close()

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        """Look a host name up, in the thread of this loop if no other can be started."""
        return await _lookups.run(partial(socket.getaddrinfo, *args, **options), needs_thread=False)

    async def close_connections(self) -> None:
        for close in self.before_end:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(close(), _CLOSED_FOR)


def _start_owned(
    loop: asyncio.AbstractEventLoop,
    steps: Coroutine[Any, Any, T] | Generator[Any, None, T],
    **options: Any,
) -> OwnedTask[T]:
    """Start a task on behalf of the owner of the one that starts it, which may be code of the user's."""
    task = OwnedTask(steps, loop=loop, **options)
    task.owner = owner_of(asyncio.current_task(loop))
    return task


def submit(make: Callable[[], Coroutine[Any, Any, T]], owner: object) -> Call[T]:
    """
    Have a call made in the helper thread of this process, on behalf of *owner*.

    Raises:
        NoThreadError: If no thread can be started.
        OSError: If there is no descriptor for an event loop.
    """
    return _helper.get().submit(make, owner)


def leave_blocked(call: Call[Any]) -> None:
    """Have later calls made in another thread than *call*, unless too many threads are blocked already."""
    if asyncio._get_running_loop() is call.loop:  # noqa: SLF001 - as in `event_loops`
        # With gevent this thread is that one, and no other loop can run in it.
        return
    if sum(thread.is_alive() for thread in _threads) < _MOST_THREADS:
        _helper.get().leave(call.loop)


def run_here(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """
    Make a call in an event loop in this thread, which has none, where no other thread can be started.

    Raises:
        OSError: If there is no descriptor for an event loop.
    """

    async def run() -> T:
        try:
            return await make()
        finally:
            await loop.close_connections()

    loop = HelperLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run(), context=Context())


@final
class _Helper:
    """The helper thread of one process, if it runs."""

    __slots__ = ("_loop", "_mutex")

    def __init__(self) -> None:
        # Held for a few statements, or while the thread starts.
        self._mutex = threading.Lock()
        self._loop: HelperLoop | None = None

    def submit(self, make: Callable[[], Coroutine[Any, Any, T]], owner: object) -> Call[T]:
        with self._mutex:
            loop = self._loop or self._start()
            call = Call(make, owner, loop)
            loop.calls.add(call)
            # In a context of its own: the caller's may say that trio runs.
            loop.call_soon_threadsafe(call.begin, context=Context())
        return call

    def _start(self) -> HelperLoop:
        loop = HelperLoop()
        try:
            thread = start_thread(lambda: Context().run(self._run, loop), "taxizer_async sync")
        except NoThreadError:
            loop.close()
            raise
        _join_at_exit(thread)
        # Not before the thread runs: a KeyboardInterrupt may have kept it from that.
        self._loop = loop
        return loop

    def _run(self, loop: HelperLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                try:
                    runner.run(self._serve(loop))
                finally:
                    # A KeyboardInterrupt of the user's code, or the like, may have ended it early.
                    loop.is_ending = True
                    self.leave(loop)
        finally:
            for call in list(loop.calls):
                call.end()

    async def _serve(self, loop: HelperLoop) -> None:
        loop.thread = threading.get_ident()
        with self._mutex:
            pass  # the call that it was started for is submitted
        await asyncio.sleep(0)
        is_left = False
        while True:
            loop.changed.clear()
            tasks = independent_tasks(loop)
            if loop.running:
                await loop.changed.wait()
            elif tasks:
                await asyncio.wait(tasks)
            elif is_left:
                break
            else:
                self.leave(loop)
                is_left = True
                # What has been submitted so far begins.
                await asyncio.sleep(0)
        await loop.close_connections()

    def leave(self, loop: HelperLoop) -> None:
        """Have callers start another from here on."""
        with self._mutex:
            loop.is_left = True
            if self._loop is loop:
                self._loop = None


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
