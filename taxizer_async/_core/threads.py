"""
How a blocking call leaves the event loop: in a thread of its own, which no limit of the user's holds back.

The threads are daemons, as a call that hangs must not keep the process from its end. Nothing here knows
what is called.
"""

from __future__ import annotations

import os
import threading

from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final
from weakref import ref

import anyio

from taxizer_async._core.event_loops import EventLoop, running_loop


if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

#: What Python, and asyncio's executors, say if there is none: its class says nothing.
_NO_THREAD: Final = (
    "can't start new thread",
    "can't create new thread",
    "cannot schedule new futures after",
    "can't register atexit after shutdown",
)


@final
class NoThreadError(RuntimeError):
    """
    No thread can be started.

    Attributes:
        at_exit: Whether that is as the interpreter exits, and not as there are too many.
    """

    def __init__(self, *, at_exit: bool) -> None:
        super().__init__("no thread can be started")
        self.at_exit = at_exit


@final
class TooManyCallsError(TimeoutError):
    """
    A call is not made, as too many earlier ones hang.

    Attributes:
        calls: How many.
    """

    def __init__(self, calls: int) -> None:
        super().__init__(f"{calls} earlier calls have not been answered")
        self.calls = calls


def lacks_thread(error: BaseException) -> bool:
    """Return whether *error* says that no thread can be started, whoever wanted one."""
    return isinstance(error, NoThreadError) or (
        isinstance(error, RuntimeError) and str(error).startswith(_NO_THREAD)
    )


def call_aside(call: Callable[[], object]) -> None:
    """Make *call* in a thread, and don't wait for it; make it here if no thread can be started."""
    try:
        _start(call)
    except NoThreadError:
        call()


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

    async def run(self, call: Callable[[], T], *, needs_thread: bool = True) -> T:
        """
        Return what *call* returns in a thread, in an empty context.

        If none can be started it is made in this one, unless it *needs_thread*, as it may take long. At
        the exit of the interpreter it is made here in any case: the loop has nothing else to do then.

        Raises:
            TooManyCallsError: If too many calls hang already.
            NoThreadError: If it needs a thread, and there is none.
        """
        # Not at the top: it is a good part of what `import taxizer_async` would cost.
        from anyio.lowlevel import checkpoint  # noqa: PLC0415

        await checkpoint()
        self._begin()
        answer: Future[T] = Future()
        waiter = _Waiter()
        # A thread that hangs must not keep an event loop that has ended.
        work = partial(self._work, call, answer, ref(waiter))
        try:
            _start(work)
        except NoThreadError as cause:
            if needs_thread and not cause.at_exit:
                self._end()
                raise
            work()
        await waiter.done.wait()
        try:
            return answer.result()
        finally:
            # It would be kept by the frames of an exception that it has.
            del answer

    def _work(self, call: Callable[[], T], answer: Future[T], waiter: ref[_Waiter]) -> None:
        try:
            answer.set_result(Context().run(call))
        except BaseException as cause:  # noqa: BLE001 - it is raised where it is waited for
            answer.set_exception(cause)
        self._end()
        waiting = waiter()
        if waiting is not None:
            waiting.wake()

    def _begin(self) -> None:
        if self._pid != os.getpid():
            # The threads are the parent's, and one of them may have held the mutex.
            self._start_anew()
        with self._mutex:
            if self._running >= self._limit:
                raise TooManyCallsError(self._running)
            self._running += 1

    def _end(self) -> None:
        with self._mutex:
            self._running -= 1

    def _start_anew(self) -> None:
        self._mutex = threading.Lock()
        self._running = 0
        self._pid = os.getpid()


@final
class _Waiter:
    """What waits for a call, on its event loop."""

    __slots__ = ("__weakref__", "_loop", "done")

    def __init__(self) -> None:
        self._loop = EventLoop(running_loop())
        self.done = anyio.Event()

    def wake(self) -> None:
        """Tell it that there is an answer; in any thread."""
        self._loop.call_soon(self.done.set)


def _start(call: Callable[[], object]) -> None:
    try:
        threading.Thread(target=call, name="taxizer_async call", daemon=True).start()
    except RuntimeError as cause:
        at_exit = "shutdown" in str(cause)
    else:
        return
    raise NoThreadError(at_exit=at_exit)
