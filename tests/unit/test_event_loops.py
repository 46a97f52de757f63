from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from types import ModuleType
from typing import Any
from weakref import ref

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from taxizer_async._core.event_loops import (
    GRACE,
    EventLoop,
    no_cancellation_lost,
    running_loop,
    start_task,
)
from tests.support.limits import HANG
from tests.support.loops import Refreshes, native, run_together, until


_mark: ContextVar[str] = ContextVar("mark", default="nothing")


def _run(backend: Any, main: Callable[[], Awaitable[object]]) -> None:
    name, options = backend
    anyio.run(main, backend=name, backend_options=options)


async def test_a_loop_knows_itself() -> None:
    """An `EventLoop` is the same as its own loop and no other, and that loop runs."""
    loop = EventLoop(native())

    assert loop.is_same(native())
    assert not loop.is_same(object())
    assert not loop.is_gone


async def test_a_call_from_another_thread() -> None:
    """A loop makes calls for other threads, in its own thread."""
    loop = EventLoop(native())
    threads: list[threading.Thread] = []
    called = anyio.Event()

    def call() -> None:
        threads.append(threading.current_thread())
        called.set()

    with anyio.fail_after(HANG):
        assert await anyio.to_thread.run_sync(loop.call_soon, call)
        await called.wait()

    assert threads == [threading.current_thread()]


def test_a_loop_that_has_ended_is_gone(anyio_backend: Any) -> None:
    """Nothing can be scheduled in a loop that has ended, collected or not."""
    loops: list[EventLoop] = []
    kept: list[object] = []

    async def main() -> None:
        kept.append(native())
        loops.append(EventLoop(native()))

    _run(anyio_backend, main)
    assert loops[0].is_gone
    assert not loops[0].call_soon(gc.collect)
    native_loop = ref(kept.pop())
    gc.collect()

    assert native_loop() is None
    assert loops[0].is_gone
    assert not loops[0].call_soon(gc.collect)


def test_a_loop_that_does_not_run_is_gone_until_it_does() -> None:
    """An asyncio loop that is neither running nor closed counts as gone, but still takes calls."""
    native_loop = asyncio.new_event_loop()
    loop = EventLoop(native_loop)
    called: list[bool] = []

    async def look() -> bool:
        return loop.is_gone

    assert loop.is_gone
    assert loop.call_soon(lambda: called.append(True))
    assert native_loop.run_until_complete(look()) is False
    assert called == [True]
    assert loop.is_gone
    native_loop.close()


async def test_a_task_has_its_own_context() -> None:
    """A task does not see the context of the code that starts it."""
    _mark.set("the caller's")
    seen: list[str] = []
    done = anyio.Event()

    async def body() -> None:
        seen.append(_mark.get())
        _mark.set("the task's")
        done.set()

    task = start_task(native(), body, Context())
    with anyio.fail_after(HANG):
        await done.wait()

    assert task is not None
    assert seen == ["nothing"]
    assert _mark.get() == "the caller's"


async def test_a_task_outlives_the_scope_of_its_start() -> None:
    """A cancel scope of the caller ends only the caller."""
    go, done = anyio.Event(), anyio.Event()
    tasks: list[object] = []

    async def body() -> None:
        await go.wait()
        await anyio.lowlevel.checkpoint()
        done.set()

    with anyio.fail_after(HANG):
        with anyio.CancelScope() as scope:
            tasks.append(start_task(native(), body, Context()))
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        go.set()
        await done.wait()


async def test_a_task_can_be_cancelled_while_its_loop_runs() -> None:
    """A task that is cancelled while its loop runs ends at once."""
    ended = anyio.Event()

    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    task = start_task(native(), body, Context(), grace=10 * HANG)
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with anyio.fail_after(HANG):
        await ended.wait()


def test_a_cancellation_that_was_lost_is_raised() -> None:
    """A task that was cancelled is, though a scope within took that for its own cancellation."""

    async def main() -> None:
        with no_cancellation_lost(), contextlib.suppress(asyncio.CancelledError):
            await anyio.sleep_forever()

    async def cancel() -> None:
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


async def test_a_cancelled_scope_stays_its_callers() -> None:
    """If what runs within swallows the cancellation of an outer scope, nothing but that scope ends."""
    with anyio.CancelScope() as outer:
        with no_cancellation_lost(), contextlib.suppress(anyio.get_cancelled_exc_class()):
            outer.cancel()
            await anyio.sleep_forever()
        await anyio.sleep_forever()

    assert outer.cancelled_caught


def test_an_eager_task_factory_changes_nothing() -> None:
    """With eager tasks, too, the task starts later, and has all its attributes."""
    order: list[str] = []

    async def body() -> None:
        order.append(_mark.get())

    async def main() -> None:
        if sys.version_info < (3, 12):
            pytest.skip("there are no eager tasks before 3.12")
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        _mark.set("the caller's")
        task = start_task(native(), body, Context())
        order.append("started")
        await until(lambda: len(order) == 2)
        assert task is not None

    asyncio.run(main())

    assert order == ["started", "nothing"]


def _end_of_loop(
    backend: Any, body: Callable[[], Coroutine[Any, Any, None]], **options: float
) -> float:
    """Start a task in a new loop, end the loop once all wait, and return the seconds that took."""
    tasks: list[object] = []

    async def main() -> None:
        tasks.append(start_task(native(), body, Context(), **options))
        await anyio.wait_all_tasks_blocked()

    began = time.monotonic()
    _run(backend, main)
    return time.monotonic() - began


def test_a_task_may_finish_when_its_loop_ends(anyio_backend: Any) -> None:
    """A task that needs another 0.3 s when its loop ends gets them."""
    done: list[bool] = []

    async def body() -> None:
        await anyio.sleep(0.3)
        done.append(True)

    assert 0.29 <= _end_of_loop(anyio_backend, body) < HANG
    assert done == [True]


def test_a_task_that_had_no_turn_may_finish(anyio_backend: Any) -> None:
    """A task that is started in the last tick of its loop still runs."""
    done: list[bool] = []
    tasks: list[object] = []

    async def body() -> None:
        await anyio.sleep(0.01)
        done.append(True)

    async def main() -> None:
        tasks.append(start_task(native(), body, Context()))

    _run(anyio_backend, main)

    assert done == [True]


@pytest.mark.parametrize(
    ("options", "grace"),
    [
        pytest.param({}, 2.0, marks=pytest.mark.slow, id="default"),
        pytest.param({"grace": 0.0}, 0.0, id="none"),
        pytest.param({"grace": 0.2}, 0.2, id="short"),
    ],
)
def test_a_task_that_hangs_is_ended(
    anyio_backend: Any, options: dict[str, float], grace: float
) -> None:
    """When its loop ends, a hanging task is cancelled after its grace period, two seconds by default."""
    ended: list[bool] = []

    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    assert GRACE == 2.0
    elapsed = _end_of_loop(anyio_backend, body, **options)
    assert grace - 0.01 <= elapsed < (1.9 if grace == 0 else HANG)
    assert ended == [True]


def test_a_task_that_is_started_as_its_loop_ends_may_finish(anyio_backend: Any) -> None:
    """A task that is started in the grace period of another gets its own, and no more."""
    done: list[str] = []
    tasks: list[object] = []

    async def last() -> None:
        await anyio.sleep(0.05)
        done.append("last")
        try:
            await anyio.sleep_forever()
        finally:
            done.append("ended")

    async def body() -> None:
        await anyio.sleep(0.05)
        tasks.append(start_task(native(), last, Context(), grace=0.3))
        done.append("body")

    assert 0.34 <= _end_of_loop(anyio_backend, body) < HANG
    assert done == ["body", "last", "ended"]


@pytest.mark.invariant(6)
def test_an_interrupt_in_a_task_of_its_own_ends_the_program(anyio_backend: Any) -> None:
    """Ctrl-C that hits a task which a body has started is raised where the program waits."""

    async def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.lowlevel.checkpoint()

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(interrupt)
            await anyio.sleep(HANG)

    async def main() -> None:
        task = start_task(native(), body, Context())
        await anyio.sleep(HANG)
        task.cancel()

    # In a background job of a shell it would be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _run(anyio_backend, main)
    finally:
        signal.signal(signal.SIGINT, before)


def run_into_an_interrupt() -> None:
    """Run trio with a task that raises KeyboardInterrupt, which ends the run."""

    async def body() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        start_task(native(), body, Context())
        await anyio.sleep(HANG)

    with pytest.raises(trio.TrioInternalError) as caught:
        trio.run(main)
    assert "KeyboardInterrupt" in repr(caught.value.__cause__)


@pytest.mark.invariant(6)
def test_an_interrupt_that_trio_does_not_handle_ends_its_run() -> None:
    """The main task can't get it, and the user's handler is not called for a signal that nobody has sent."""
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: calls.append(number))
    try:
        run_into_an_interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == []


@pytest.mark.invariant(6)
def test_an_interrupt_in_another_thread_does_not_hit_the_main_one() -> None:
    """It ends the run of trio that it was raised in, and not the one that handles signals."""

    async def main() -> None:
        await anyio.to_thread.run_sync(run_into_an_interrupt)
        # A signal would be handled here.
        await anyio.lowlevel.checkpoint()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        trio.run(main)
    except KeyboardInterrupt:
        pytest.fail("the main thread was interrupted")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.invariant(6)
def test_while_trio_is_imported_no_loop_of_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that another thread is still importing lacks its attributes."""
    monkeypatch.setitem(sys.modules, "trio", ModuleType("trio"))

    with pytest.raises(anyio.NoEventLoopError):
        running_loop()


def test_shielded_clean_up_is_not_cut_off(anyio_backend: Any) -> None:
    """A task reaches the end of a shield, entered before or after its grace period ended."""
    done: list[str] = []

    async def body() -> None:
        try:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.2)
                done.append("shielded")
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                done.append("cleaned")

    _end_of_loop(anyio_backend, body, grace=0.05)

    assert done == ["shielded", "cleaned"]


def test_a_loop_with_waiters_is_not_kept(anyio_backend: Any, refreshes: Refreshes) -> None:
    """A loop that has ended is collected, whatever waited, slept or refreshed in it."""
    loops: list[Any] = []
    coordinator = refreshes.coordinator

    async def sleep() -> None:
        with coordinator.sleeper() as sleeper:
            while True:
                await sleeper.changed.wait()

    async def wait() -> None:
        await refreshes.join().wait(native())

    async def main() -> None:
        loops.append(ref(native()))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep)
            for _ in range(3):
                tasks.start_soon(wait)
            await until(lambda: refreshes.begun and len(refreshes.begun[0]._since) == 3)
            tasks.cancel_scope.cancel()
        refreshes.let_go()

    _run(anyio_backend, main)
    assert refreshes.begun[0].is_over
    refreshes.begun.clear()
    gc.collect()

    assert [loop() for loop in loops] == [None]


def test_a_loop_that_waited_for_another_is_not_kept(
    anyio_backend: Any, refreshes: Refreshes
) -> None:
    """Neither its waiters nor those that poll another loop keep a loop alive."""
    loops: list[Any] = []
    has_left = threading.Event()

    async def refresh() -> None:
        refreshes.join()
        await until(has_left.is_set)
        refreshes.let_go()
        await until(lambda: refreshes.coordinator._current is None)

    async def wait() -> None:
        loops.append(ref(native()))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refreshes.follow)
            await until(lambda: refreshes.begun and refreshes.begun[0]._elsewhere)
            tasks.cancel_scope.cancel()
        has_left.set()

    run_together((anyio_backend, refresh), (anyio_backend, wait))
    gc.collect()

    assert len(refreshes.begun) == 1
    assert [loop() for loop in loops] == [None]
