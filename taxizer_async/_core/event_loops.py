"""
Event loops as other threads see them, and tasks that no caller can cancel.

Only this module depends on which backend of anyio is in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import threading

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from functools import partial
from typing import Any, Final, Protocol, final
from weakref import ref

import anyio


Body = Callable[[], Coroutine[Any, Any, None]]


#: Seconds that a task gets to finish when its event loop ends.
GRACE: Final = 2.0
#: For what account the running code works, where that is known; the tasks of `start_task` inherit it.
OWNER: Final[ContextVar[object]] = ContextVar("OWNER", default=None)


def running_loop() -> object:
    """
    Return the running event loop: asyncio's, or trio's token.

    Raises:
        NoEventLoopError: If none runs in this thread.
    """
    # anyio's own look-up takes ten times as long, and every caller that waits for a token comes here.
    # Unlike the public function, this one raises nothing.
    loop = asyncio._get_running_loop()  # noqa: SLF001
    # Where trio runs as a guest in asyncio's loop there is no asyncio task.
    if loop is not None and asyncio.current_task(loop) is not None:
        return loop
    trio = sys.modules.get("trio")
    if trio is not None:
        # Attributes are missing while another thread imports it.
        with contextlib.suppress(RuntimeError, AttributeError):
            return trio.lowlevel.current_trio_token()
    raise anyio.NoEventLoopError


def is_cancelled() -> bool:
    """Return whether a cancellation that was raised in the running task is its own."""
    task = _current_task()
    # In trio, no other task's cancellation is raised here.
    return task is None or task.cancelling() > 0


@contextlib.contextmanager
def no_cancellation_lost() -> Generator[None]:
    """
    Raise a cancellation of the running asyncio task that was lost within.

    Until anyio 4.16, one of its scopes that is cancelled takes a cancellation that comes with its own for its own.
    """
    task = _current_task()
    before = 0 if task is None else task.cancelling()
    yield
    if task is None or task.cancelling() <= before:
        return
    if anyio.current_effective_deadline() > -math.inf:
        raise asyncio.CancelledError
    # An outer scope of anyio's is cancelled: it cancels again what goes on.


@contextlib.contextmanager
def move_on_after(seconds: float) -> Generator[anyio.CancelScope]:
    """Do as `anyio.move_on_after`, but lose no cancellation that comes when the time is over."""
    with no_cancellation_lost(), anyio.move_on_after(seconds) as scope:
        yield scope


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


@final
class EventLoop:
    """A weak reference to *native*, an event loop: asyncio's loop, or trio's token."""

    __slots__ = ("_native",)

    def __init__(self, native: object) -> None:
        self._native: ref[Any] = ref(native)

    def is_same(self, native: object) -> bool:
        return self._native() is native

    @property
    def is_gone(self) -> bool:
        """Whether it does not run, so that nothing in it makes progress."""
        native = self._native()
        if isinstance(native, asyncio.AbstractEventLoop):
            return not native.is_running()
        # As long as trio runs, a call can be scheduled.
        return not self.call_soon(lambda: None)

    @property
    def is_closed(self) -> bool:
        """Whether it will never run again; False for trio, which ends its tasks first."""
        native = self._native()
        return isinstance(native, asyncio.AbstractEventLoop) and native.is_closed()

    def call_soon(self, call: Callable[[], object]) -> bool:
        """Schedule *call* in the loop's own thread; return False if the loop has ended."""
        native = self._native()
        if native is None:
            return False
        try:
            if isinstance(native, asyncio.AbstractEventLoop):
                # The caller's context names the library of another event loop.
                native.call_soon_threadsafe(call, context=Context())
            else:
                native.run_sync_soon(call)
        except RuntimeError:  # which includes trio's RunFinishedError
            return False
        return True


class Cancellable(Protocol):
    """A task that was started. The caller has to keep a reference, as asyncio does not."""

    def cancel(self) -> object:
        """End it at once."""
        ...


def start_task(
    native: object, body: Body, context: Context, *, grace: float = GRACE
) -> Cancellable:
    """
    Run *body* in a new task of the running loop *native*, outside all cancel scopes of the caller.

    When the loop ends, the task gets *grace* seconds to finish. *body* must not raise.
    """
    context.run(OWNER.set, OWNER.get())
    if isinstance(native, asyncio.AbstractEventLoop):
        end, followers = anyio.CancelScope(), list[_Task]()
        task = _Task(_run_in_asyncio(body, end, followers), loop=native, context=context)
        task.end, task.grace, task.followers = end, grace, followers
        parent = asyncio.current_task(native)
        if isinstance(parent, _Task) and parent.is_ending:
            # asyncio waits only for the tasks that existed when its loop was ended.
            parent.followers.append(task)
            task.end_after_grace()
        return task
    # Imported only where trio runs.
    from trio.lowlevel import spawn_system_task  # noqa: PLC0415

    scope = anyio.CancelScope(shield=True)
    spawn_system_task(_run_in_trio, body, scope, grace, context=context)
    return scope


def independent_tasks(native: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
    """Return the tasks of `start_task` that run in *native*."""
    return [task for task in asyncio.all_tasks(native) if isinstance(task, _Task)]


def call_later(native: object, seconds: float, call: Callable[[], object]) -> Cancellable:
    """Make *call* in the running loop *native* after *seconds*; it must not raise."""
    if isinstance(native, asyncio.AbstractEventLoop):
        return native.call_later(seconds, call)
    return start_task(native, partial(_call_after, seconds, call), Context())


@final
class _Task(asyncio.Task[None]):
    """
    A task that is not cancelled with all others when its loop ends.

    `asyncio.run`, `asyncio.Runner` and aiohttp's `run_app` cancel all tasks while the loop is stopped,
    then run it until they are done. Cancel scopes and timeouts cancel while the loop runs.
    """

    #: Unlike asyncio's own cancellation, this respects shields and does not get lost.
    end: anyio.CancelScope
    grace = GRACE
    is_ending = False
    #: The tasks that it started after its loop was ended.
    followers: list[_Task]

    def cancel(self, msg: Any | None = None) -> bool:
        if self.get_loop().is_running() or self.grace <= 0 or self.done():
            return super().cancel(msg)
        if not self.is_ending:
            self.end_after_grace()
        return True

    def end_after_grace(self) -> None:
        """Let it finish within its grace period."""
        self.is_ending = True
        self.get_loop().call_later(self.grace, self.end.cancel)


async def _run_in_asyncio(body: Body, end: anyio.CancelScope, followers: list[_Task]) -> None:
    try:
        with end:
            await body()
    except (KeyboardInterrupt, SystemExit):
        # It ends the loop's run, so asyncio need not log that nobody has seen it.
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(_retrieve)
        raise
    finally:
        if followers:
            await asyncio.wait(followers)


def _retrieve(task: asyncio.Task[Any]) -> None:
    task.exception()


async def _run_in_trio(body: Body, scope: anyio.CancelScope, grace: float) -> None:
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_after_grace, scope, grace)
            with scope:
                await body()
            tasks.cancel_scope.cancel()
    except* KeyboardInterrupt:
        if not _does_trio_handle_interrupts():
            raise
        # It hit a task that the body started. In this one an error would end trio; now the main task gets it.
        signal.raise_signal(signal.SIGINT)


def _does_trio_handle_interrupts() -> bool:
    """Return whether a SIGINT makes trio raise KeyboardInterrupt in the main task of this thread."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    return str(getattr(handler, "__module__", None)).partition(".")[0] == "trio"


async def _call_after(seconds: float, call: Callable[[], object]) -> None:
    await anyio.sleep(seconds)
    call()


async def _end_after_grace(scope: anyio.CancelScope, grace: float) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        scope.deadline = min(scope.deadline, anyio.current_time() + grace)
