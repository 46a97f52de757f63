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

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, final

from taxizer_async._core.event_loops import GRACE, OWNER, EventLoop, independent_tasks
from taxizer_async._core.policy import BLOCKED_AFTER
from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import AbandonableCalls, NoThreadError, start_thread
from taxizer_async._core.turns import SilentTurns


T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds that a refresh gets to finish when the program ends.
_JOINED_FOR: Final = 2.0
#: Seconds.
_SIGNALS_HANDLED_EVERY: Final = 0.5
#: Seconds that connections and async generators get to close when the loop ends.
_CLOSED_FOR: Final = 1.0
#: Seconds that tasks get to end then: those of `start_task` take up to their grace period.
_CANCELLED_FOR: Final = GRACE + 1.0
#: How many look-ups of host names may hang.
_MOST_LOOKUPS: Final = 64
#: How many helper threads there may be, all but one of them blocked.
_MOST_THREADS: Final = 8
#: How many of them the code of one account may block: what hangs once may not hang again.
_MOST_BLOCKED: Final = 2
#: In how many of them a call is made, as the code of another account may block all but the last.
_TRIES: Final = _MOST_BLOCKED + 1


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
        """Whether what now runs in its event loop works for the same account."""
        return self.loop.owner is self.owner

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


def submit(make: Callable[[], Coroutine[Any, Any, T]], owner: object) -> Call[T]:
    """
    Have a call made in the helper thread of this process, for the account *owner*.

    Raises:
        NoThreadError: If no thread can be started.
        BlockedError: If code of the account blocks too many threads.
        OSError: If there is no descriptor for an event loop.
    """
    return _helper.get().submit(make, owner)


def call_and_wait(
    make: Callable[[], Coroutine[Any, Any, T]], owner: object, *, can_run_here: bool
) -> T:
    """
    Do as `submit`, and return the result of the call.

    If no thread can be started, it is made in this one, if that *can_run_here* an event loop.

    Raises:
        NoThreadError: If no thread can be started.
        BlockedError: If each thread that it was made in is blocked, or code of the account blocks too many.
        CancelledError: If the thread that it was made in has ended.
        OSError: If there is no descriptor for an event loop.
    """
    for _ in range(_TRIES):
        try:
            call = submit(make, owner)
        except NoThreadError:
            if not can_run_here:
                raise
            return _run_here(make)
        with contextlib.suppress(BlockedError):
            return call.result()
        _helper.get().leave_blocked(call)
    raise BlockedError


def _run_here(make: Callable[[], Coroutine[Any, Any, T]]) -> T:

    async def run() -> T:
        try:
            return await make()
        finally:
            await loop.close_connections()

    loop = HelperLoop()
    try:
        return Context().run(loop.run_until_complete, run())
    finally:
        loop.end()


@final
class _Helper:
    """The helper thread of one process, if it runs."""

    __slots__ = ("_blocked", "_loop", "_mutex")

    def __init__(self) -> None:
        # Held for a few statements, or while the thread starts.
        self._mutex = threading.Lock()
        self._loop: HelperLoop | None = None
        # For each event loop that is blocked, a call for the account that blocks it, which waits for its end.
        self._blocked: dict[HelperLoop, Call[Any]] = {}

    def submit(self, make: Callable[[], Coroutine[Any, Any, T]], owner: object) -> Call[T]:
        with self._mutex:
            blocked = self._number_blocked_by(owner)
            if blocked >= _MOST_BLOCKED:
                raise BlockedError
            try:
                loop = self._loop or self._start()
            except NoThreadError:
                if blocked:
                    # In the caller's own thread it would block that, too.
                    raise BlockedError from None
                raise
            call = Call(make, owner, loop)
            loop.calls.add(call)
            # Not in the caller's, which may say that trio runs.
            context = Context()
            context.run(OWNER.set, owner)
            loop.call_soon_threadsafe(call.begin, context=context)
        return call

    def leave_blocked(self, call: Call[Any]) -> None:
        """Have later calls made in another thread than *call*, unless too many are blocked already."""
        loop = call.loop
        if call.is_blocked_by_owner:
            with self._mutex:
                self._blocked[loop] = call
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - as in `event_loops`
            # With gevent this thread is that one, and no other loop can run in it.
            return
        if sum(thread.is_alive() for thread in _threads) < _MOST_THREADS:
            self.leave(loop)

    def _number_blocked_by(self, owner: object) -> int:
        self._blocked = {loop: call for loop, call in self._blocked.items() if not call.is_over}
        return sum(call.owner is owner for call in self._blocked.values())

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
            loop.run_until_complete(self._serve(loop))
        finally:
            # A KeyboardInterrupt of the user's code, or the like, may have ended it early.
            loop.is_ending = True
            self.leave(loop)
            try:
                loop.end()
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
