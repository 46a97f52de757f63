"""
Blocking calls in daemon threads, outside the user's thread limits.

A call that hangs does not keep the process from exiting.
"""

from __future__ import annotations

import threading

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import Final, TypeVar, final
from weakref import ref

import anyio

from taxizer_async._core.event_loops import EventLoop, running_loop
from taxizer_async._core.process import PerProcess


T = TypeVar("T")

#: What Python and asyncio's executors say when no thread can be started; there is no class for it.
_NO_THREAD: Final = (
    "can't start new thread",
    "can't create new thread",
    "cannot schedule new futures after",
    "can't register atexit after shutdown",
)


@final
class NoThreadError(RuntimeError):
    """No thread can be started: too many run, or the interpreter exits (*at_exit*)."""

    def __init__(self, *, at_exit: bool) -> None:
        super().__init__("no thread can be started")
        self.at_exit = at_exit


@final
class TooManyCallsError(TimeoutError):
    """A call was not made, as so many earlier *calls* hang."""

    def __init__(self, calls: int) -> None:
        super().__init__(f"{calls} earlier calls have not been answered")
        self.calls = calls


def lacks_thread(error: BaseException) -> bool:
    """Return whether *error*, ours or Python's, says that no thread can be started."""
    return isinstance(error, NoThreadError) or (
        isinstance(error, RuntimeError) and str(error).startswith(_NO_THREAD)
    )


def call_aside(call: Callable[[], object]) -> None:
    """Make *call* in a thread without waiting for it, or in this one if none can be started."""
    try:
        start_thread(call)
    except NoThreadError:
        call()


def start_thread(call: Callable[[], object], name: str = "taxizer_async call") -> threading.Thread:
    """
    Make *call* in a daemon thread called *name*.

    Raises:
        NoThreadError: If no thread can be started.
    """
    thread = threading.Thread(target=call, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as cause:
        at_exit = "shutdown" in str(cause)
    else:
        return thread
    raise NoThreadError(at_exit=at_exit)


@final
class AbandonableCalls:
    """
    Calls that may hang: a cancelled caller leaves its call behind.

    At most *limit* of them are under way at a time, each in a thread.
    """

    __slots__ = ("_free", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = PerProcess(lambda: threading.BoundedSemaphore(limit))

    async def run(self, call: Callable[[], T], *, needs_thread: bool = True) -> T:
        """
        Make *call* in a thread, in an empty context, and return what it returns.

        If no thread can be started, the call is made in the event loop's thread, unless it *needs_thread*
        because it may take long. While the interpreter exits it is made there in any case: the loop has
        nothing else to do.

        Raises:
            TooManyCallsError: If *limit* calls hang already.
            NoThreadError: If *call* needs a thread, and none can be started.
        """
        # Imported late, as it would be a good part of the cost of `import taxizer_async`.
        from anyio.lowlevel import checkpoint  # noqa: PLC0415

        await checkpoint()
        free = self._free.get()
        if not free.acquire(blocking=False):
            raise TooManyCallsError(self._limit)
        answer: Future[T] = Future()
        loop, done = EventLoop(running_loop()), anyio.Event()
        # Both are weak references, so that a call that hangs does not keep alive a loop that has ended.
        work = partial(_work, call, answer, loop, ref(done), free)
        try:
            start_thread(work)
        except NoThreadError as cause:
            if needs_thread and not cause.at_exit:
                free.release()
                raise
            work()
        await done.wait()
        try:
            return answer.result()
        finally:
            # The traceback of its exception has this frame, which would be a cycle.
            del answer


def _work(
    call: Callable[[], T],
    answer: Future[T],
    loop: EventLoop,
    waiting: ref[anyio.Event],
    free: threading.BoundedSemaphore,
) -> None:
    try:
        answer.set_result(Context().run(call))
    except BaseException as cause:  # noqa: BLE001 - `run` raises it
        answer.set_exception(cause)
    free.release()
    done = waiting()
    if done is not None:
        loop.call_soon(done.set)
