"""
A short-lived thread with an event loop, which does what threads without one wait for.

All sync callers of a process share it. It begins with the first call that has to wait, and ends when no call
is left and no task that a call has started: a refresh is finished, though its callers have gone. One that
is blocked is left behind for another.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time

from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar, final

from taxizer_async._core.event_loops import OWNER, independent_tasks
from taxizer_async._core.helper_loop import BlockedError, Call, HelperLoop
from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import NoThreadError, start_thread


T = TypeVar("T")

#: Seconds that a refresh gets to finish when the program ends.
_JOINED_FOR: Final = 2.0
#: How many helper threads there may be, all but one of them blocked.
_MOST_THREADS: Final = 8
#: How many of them the code of one account may block: what hangs once may not hang again.
_MOST_BLOCKED: Final = 2
#: In how many of them a call is made, as the code of another account may block all but the last.
_TRIES: Final = _MOST_BLOCKED + 1


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
    # Ctrl-C cancels the call then, rather than striking anywhere in it.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run(), context=Context())


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
_threads: Final[list[threading.Thread]] = []


def _join_at_exit(thread: threading.Thread) -> None:
    if not _threads:
        atexit.register(_join_all)
    _threads[:] = [*(each for each in _threads if each.is_alive()), thread]


def _join_all() -> None:
    deadline = time.monotonic() + _JOINED_FOR
    for thread in _threads:
        thread.join(max(0.0, deadline - time.monotonic()))
