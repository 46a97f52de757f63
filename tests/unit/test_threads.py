"""Calls in threads: limited in number, and no obstacle to the end of a loop or a process."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref

from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from taxizer_async._core.threads import (
    AbandonableCalls,
    NoThreadError,
    TooManyCallsError,
    call_aside,
    lacks_thread,
)
from tests.support.limits import HANG
from tests.support.threads import refuse_threads
from tests.unit.conftest import InChild, ThreadWithin


#: What Python 3.12 and later say while they exit.
EXITING = "can't create new thread at interpreter shutdown"


@pytest.fixture(name="gate")
def _gate() -> Iterator[threading.Event]:
    """Release waiting threads, at the latest when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_does_not_inherit_the_calls_of_its_parent(
    in_child: InChild, thread_within: ThreadWithin
) -> None:
    """A child starts at zero, even if the limit was reached, or the semaphore's lock held, at the fork."""
    calls = AbandonableCalls(1)
    free = calls._free.get()

    def call() -> bool:
        return anyio.run(calls.run, lambda: 7) == 7

    with thread_within(lambda: free._cond):  # type: ignore[attr-defined]
        assert in_child(call)
    assert free.acquire(blocking=False)
    assert in_child(call)


async def test_a_call_is_made_in_a_daemon_thread() -> None:
    """A call runs in another thread, which the end of the process does not wait for."""
    thread = await AbandonableCalls(1).run(threading.current_thread)

    assert thread is not threading.current_thread()
    assert thread.daemon


async def test_a_call_sees_no_context_of_the_callers() -> None:
    """A call runs in an empty context, as the caller's may hold secrets and an event loop."""
    variable = contextvars.ContextVar[int | None]("variable", default=None)
    variable.set(7)

    assert await AbandonableCalls(1).run(variable.get) is None


@pytest.mark.parametrize("error", [KeyError, SystemExit])
async def test_what_a_call_raises_is_raised(error: type[BaseException]) -> None:
    """Any exception of a call is raised at its caller, and the next call is made."""

    def fail() -> None:
        raise error

    calls = AbandonableCalls(1)
    with pytest.raises(error):
        await calls.run(fail)

    assert await calls.run(lambda: 7) == 7


async def test_a_cancelled_task_makes_no_call() -> None:
    """A task that is cancelled already makes no call."""
    made: list[int] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await AbandonableCalls(1).run(lambda: made.append(1))

    assert made == []


@pytest.mark.report(133)
async def test_calls_that_hang_are_bounded(gate: threading.Event) -> None:
    """A cancelled caller leaves its call behind; when the limit is reached, no more calls are made."""
    calls = AbandonableCalls(2)
    ended = threading.Semaphore(0)

    def hang() -> None:
        gate.wait(HANG)
        ended.release()

    for _ in range(2):
        with anyio.move_on_after(0.01) as scope:
            await calls.run(hang)
        assert scope.cancelled_caught
    with pytest.raises(TooManyCallsError, match="2 earlier calls have not been answered") as caught:
        await calls.run(hang)
    assert caught.value.calls == 2
    gate.set()
    for _ in range(2):
        assert await anyio.to_thread.run_sync(ended.acquire, True, HANG)

    assert await calls.run(lambda: 7) == 7


@pytest.mark.report(107, 133)
def test_a_call_that_hangs_keeps_no_event_loop(
    gate: threading.Event, anyio_backend: tuple[str, Any]
) -> None:
    """A loop that has ended is collected while the thread is still there."""
    calls = AbandonableCalls(1)
    loops: list[weakref.ref[Any]] = []

    async def leave_one_behind() -> None:
        loops.append(weakref.ref(anyio.lowlevel.current_token().native_token))
        with anyio.move_on_after(0.01):
            await calls.run(lambda: gate.wait(HANG))

    anyio.run(leave_one_behind, backend=anyio_backend[0])
    gc.collect()

    assert not calls._free.get().acquire(blocking=False)
    assert loops[0]() is None


@pytest.mark.report(130)
async def test_a_call_that_needs_a_thread_fails_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that needs a thread is not made in the loop, and does not count as hanging."""
    calls = AbandonableCalls(1)
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        for _ in range(2):
            with pytest.raises(NoThreadError):
                await calls.run(threading.get_ident)

    assert await calls.run(threading.get_ident) != threading.get_ident()


@pytest.mark.report(131)
@pytest.mark.parametrize("needs_thread", [False, True])
async def test_a_call_is_made_here_as_the_interpreter_exits(
    monkeypatch: pytest.MonkeyPatch, needs_thread: bool
) -> None:
    """When threads can no longer be started, each call is made in the loop's thread."""
    calls = AbandonableCalls(1)
    refuse_threads(monkeypatch, EXITING)
    for _ in range(2):
        made_by = await calls.run(threading.get_ident, needs_thread=needs_thread)
        assert made_by == threading.get_ident()


@pytest.mark.report(131)
async def test_a_call_that_needs_no_thread_is_made_here_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quick call is made in the loop's thread if no other can be started."""
    calls = AbandonableCalls(1)
    refuse_threads(monkeypatch)

    assert await calls.run(threading.get_ident, needs_thread=False) == threading.get_ident()


def test_a_call_aside_is_made_here_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """`call_aside` makes its call with or without a thread."""
    made_by: list[int] = []
    refuse_threads(monkeypatch)
    call_aside(lambda: made_by.append(threading.get_ident()))

    assert made_by == [threading.get_ident()]


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (NoThreadError(at_exit=False), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError(EXITING), True),
        (RuntimeError("cannot schedule new futures after interpreter shutdown"), True),
        (RuntimeError("can't register atexit after shutdown"), True),
        (RuntimeError("Event loop is closed"), False),
        (ValueError("can't start new thread"), False),
    ],
    ids=repr,
)
def test_a_lack_of_threads_is_known_by_its_message(error: Exception, lacks: bool) -> None:
    """The lack of a thread is recognized by Python's messages, as there is no class for it."""
    assert lacks_thread(error) is lacks
