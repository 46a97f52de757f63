from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from taxizer_async._token import single_flight
from taxizer_async._token.single_flight import SharedRefresh
from tests.support.limits import HANG
from tests.support.loops import ASYNCIO, TRIO, Refreshes, native, run_together, until


each_pair = pytest.mark.parametrize(
    ("here", "there"),
    [(ASYNCIO, ASYNCIO), (ASYNCIO, TRIO), (TRIO, ASYNCIO), (TRIO, TRIO)],
    ids=["asyncio-asyncio", "asyncio-trio", "trio-asyncio", "trio-trio"],
)


@pytest.fixture(name="no_watch")
def _no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch watchers off, so that only the end of a refresh wakes its waiters."""
    monkeypatch.setattr(single_flight, "WATCH_INTERVAL", 10 * HANG)


@pytest.fixture(name="quick_watch")
def _quick_watch(monkeypatch: pytest.MonkeyPatch) -> float:
    """Watch a refresh of another loop more often, and leave it after so many seconds."""
    monkeypatch.setattr(single_flight, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(single_flight, "BLOCKED_AFTER", 0.4)
    return 0.4


async def others_ended() -> None:
    """Wait until no other task of the running asyncio loop is left; there may be none."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})


@pytest.fixture(name="stopped_loop")
def _stopped_loop(refreshes: Refreshes) -> Iterator[asyncio.AbstractEventLoop]:
    """Return an asyncio loop that was stopped with a refresh pending."""
    loop = asyncio.new_event_loop()

    async def start() -> None:
        refreshes.join()
        await until(lambda: refreshes.begun)

    loop.run_until_complete(start())
    yield loop
    refreshes.let_go()
    loop.run_until_complete(others_ended())
    loop.close()


@each_pair
@pytest.mark.usefixtures("no_watch")
def test_waiters_that_were_let_go_wait_again(here: Any, there: Any, refreshes: Refreshes) -> None:
    """Whichever event loop lets the waiters of a refresh go, in all loops, they can wait for it again."""
    waits: list[object] = []

    async def wait_twice() -> None:
        refresh = refreshes.join()
        with anyio.fail_after(HANG):
            for _ in range(2):
                await refresh.wait(native())
                waits.append(refresh.result)

    async def wait_later() -> None:
        # The loop of the refresh is not the one that lets go.
        await until(lambda: refreshes.begun)
        await wait_twice()

    async def let_go_twice() -> None:
        await until(lambda: refreshes.begun and len(refreshes.begun[0]._since) == 2)
        refreshes.coordinator.let_callers_go()
        await until(lambda: len(waits) == 2 and len(refreshes.begun[0]._since) == 2)
        refreshes.let_go()

    run_together((here, wait_twice), (there, wait_later), (there, let_go_twice))

    assert waits == [None] * 2 + [refreshes.result] * 2


async def test_a_loop_has_one_refresh(refreshes: Refreshes) -> None:
    """All tasks of an event loop share one refresh; after its end there is another."""
    joined: list[SharedRefresh] = []

    async def join() -> None:
        joined.append(refreshes.join())
        await joined[-1].wait(native())

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(join)
            await until(lambda: len(joined) == 5)
            refreshes.let_go()
        again = refreshes.join()
        await again.wait(native())

    assert len(set(joined)) == 1
    assert again is not joined[0]
    assert refreshes.begun == [joined[0], again]
    assert joined[0].result is refreshes.result


async def test_starting_waits_for_nothing(refreshes: Refreshes) -> None:
    """A refresh can be joined at once, and begins after its starter has gone on."""
    refresh = refreshes.join()

    assert refreshes.begun == []
    assert refreshes.join() is refresh
    refreshes.let_go()
    with anyio.fail_after(HANG):
        await refresh.wait(native())
    assert refreshes.begun == [refresh]


async def test_a_refresh_that_can_not_start_is_over(
    refreshes: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its task can't be made, the caller gets the error, and the next one tries again."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no more tasks")

    with monkeypatch.context() as patch:
        patch.setattr(single_flight, "start_task", fail)
        with pytest.raises(MemoryError):
            refreshes.join()
    refreshes.let_go()
    with anyio.fail_after(HANG):
        await refreshes.join().wait(native())

    assert len(refreshes.begun) == 1


@each_pair
@pytest.mark.usefixtures("no_watch")
def test_other_loops_are_woken(refreshes: Refreshes, here: Any, there: Any) -> None:
    """Tasks of other loops wake up at the end of the refresh; one task of each loop watches it."""
    found: list[object] = []

    async def start() -> None:
        refresh = refreshes.join()
        await until(lambda: len(refresh._since) == 6)
        assert len(refresh._elsewhere) == 2
        refreshes.let_go()
        await wait()

    async def wait() -> None:
        found.append((await refreshes.follow()).result)

    async def follow() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)

    run_together((here, start), (there, follow), (there, follow))

    assert found == [refreshes.result] * 7
    assert len(refreshes.begun) == 1


def test_a_late_waiter_waits_for_nothing(anyio_backend: Any, refreshes: Refreshes) -> None:
    """A task of another loop that waits after the end returns at once, and watches nothing."""

    async def start() -> None:
        refreshes.join()
        refreshes.let_go()
        await until(lambda: refreshes.begun and refreshes.begun[0].is_over)

    async def follow() -> None:
        await until(lambda: refreshes.begun and refreshes.begun[0].is_over)
        await refreshes.follow()

    run_together((anyio_backend, start), (anyio_backend, follow))

    assert refreshes.begun[0]._elsewhere == []


async def test_a_refresh_that_was_left_behind_is_not_joined(refreshes: Refreshes) -> None:
    """The loop of a refresh that was abandoned does not wait for it either, but starts another."""
    first = refreshes.join()
    refreshes.coordinator.abandon_in(native())
    second = refreshes.join()
    refreshes.let_go()
    with anyio.fail_after(HANG):
        await second.wait(native())

    assert second.predecessor is None
    assert second is not first
    assert second.result is refreshes.result


def test_a_loop_that_runs_again_joins_the_new_refresh(
    refreshes: Refreshes, stopped_loop: asyncio.AbstractEventLoop
) -> None:
    """A loop that goes on with an abandoned refresh does not end the one that replaced it."""
    has_joined = threading.Event()
    joined: list[SharedRefresh] = []

    async def take_over() -> None:
        joined.append(refreshes.join())
        has_joined.set()
        await joined[0].wait(native())

    async def go_on() -> None:
        joined.append(refreshes.join())
        assert not joined[1].is_over
        # The end of one that is over already: of the first one, in this loop.
        refreshes.coordinator.end(refreshes.begun[0], None)
        assert refreshes.join() is joined[1]
        refreshes.let_go()
        await joined[1].wait(native())

    thread = threading.Thread(target=run_together, args=[(ASYNCIO, take_over)])
    thread.start()
    assert has_joined.wait(HANG)
    stopped_loop.run_until_complete(asyncio.wait_for(go_on(), HANG))
    thread.join(HANG)

    assert joined[0] is joined[1]
    assert joined[0].result is refreshes.result
    assert refreshes.begun[0].result is None


def test_waiters_of_a_loop_that_runs_again_are_woken(
    refreshes: Refreshes, stopped_loop: asyncio.AbstractEventLoop
) -> None:
    """Waiters of the stopped loop, too, are woken when others start a refresh."""
    (first,) = refreshes.begun

    async def wait() -> asyncio.Task[None]:
        task = asyncio.ensure_future(first.wait(native()))
        await until(lambda: first._since)
        return task

    async def take_over() -> None:
        second = refreshes.join()
        await until(lambda: is_woken)
        refreshes.let_go()
        await second.wait(native())

    async def go_on() -> None:
        await asyncio.wait_for(waiter, HANG)
        # The first one is still under way here.
        assert len(asyncio.all_tasks()) == 2
        is_woken.append(True)

    is_woken: list[bool] = []
    waiter = stopped_loop.run_until_complete(wait())
    assert not waiter.done()
    thread = threading.Thread(target=run_together, args=[(ASYNCIO, take_over)])
    thread.start()
    try:
        while not first.is_over:
            assert thread.is_alive()
        stopped_loop.run_until_complete(go_on())
    finally:
        refreshes.let_go()
        thread.join(HANG)


@pytest.mark.parametrize("there", [ASYNCIO, TRIO], ids=["asyncio", "trio"])
def test_waiters_for_a_loop_that_stops_start_another(refreshes: Refreshes, there: Any) -> None:
    """Tasks elsewhere notice that the loop of their refresh has stopped."""
    loop = asyncio.new_event_loop()
    found: list[SharedRefresh] = []

    async def wait() -> None:
        first = await refreshes.follow()
        assert first.result is None
        second = refreshes.join()
        refreshes.let_go()
        with anyio.fail_after(HANG):
            await second.wait(native())
        found.extend((first, second))

    thread = threading.Thread(target=run_together, args=[(there, wait)])
    thread.start()
    loop.run_until_complete(refreshes.begin())
    thread.join(HANG)
    loop.run_until_complete(others_ended())
    loop.close()

    assert refreshes.begun == found
    assert len(found) == 2


@pytest.mark.parametrize("watch", [pytest.param(None, marks=pytest.mark.slow), "quick_watch"])
def test_a_loop_may_block_for_five_seconds(
    anyio_backend: Any, refreshes: Refreshes, watch: str | None, request: pytest.FixtureRequest
) -> None:
    """A loop is waited for until it has been busy for five seconds."""
    limit = 5.0 if watch is None else request.getfixturevalue(watch)
    resume = threading.Event()
    elapsed: list[float] = []

    async def block() -> None:
        await refreshes.begin()
        assert resume.wait(HANG)
        refreshes.let_go()

    async def wait() -> None:
        await until(lambda: refreshes.begun)
        began = time.monotonic()
        await refreshes.follow()
        elapsed.append(time.monotonic() - began)
        resume.set()

    run_together((anyio_backend, block), (anyio_backend, wait))

    assert refreshes.begun[0].result is None
    assert 0.98 * limit <= elapsed[0] < HANG


@pytest.mark.usefixtures("quick_watch")
@each_pair
def test_a_loop_that_blocks_after_a_while_is_left(
    refreshes: Refreshes, here: Any, there: Any
) -> None:
    """A loop that has answered its watcher is left all the same when it is blocked later."""
    resume = threading.Event()

    async def block() -> None:
        await refreshes.begin()
        # For some looks of the watcher.
        await anyio.sleep(0.1)
        assert resume.wait(HANG)
        refreshes.let_go()

    async def wait() -> None:
        assert (await refreshes.follow()).result is None
        resume.set()

    run_together((here, block), (there, wait))


@each_pair
def test_a_loop_that_turns_slowly_is_not_left(
    refreshes: Refreshes, here: Any, there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that is busy again and again, but turns in between, is not left behind."""
    monkeypatch.setattr(single_flight, "WATCH_INTERVAL", 0.01)
    monkeypatch.setattr(single_flight, "BLOCKED_AFTER", 0.3)

    async def turn_slowly() -> None:
        refresh = await refreshes.begin()
        for _ in range(8):
            time.sleep(0.1)  # noqa: ASYNC251 - it is to block the loop
            await anyio.sleep(0.001)
        assert not refresh.is_over
        refreshes.let_go()
        await refresh.wait(native())

    run_together((here, turn_slowly), (there, refreshes.follow))

    assert refreshes.begun[0].result is refreshes.result


@pytest.mark.usefixtures("quick_watch")
def test_a_loop_does_not_take_its_own_stall_for_anothers(
    anyio_backend: Any, refreshes: Refreshes
) -> None:
    """After both loops stood still, as on a machine that slept, the refresh gets its full time."""
    has_begun, resume = threading.Event(), threading.Event()

    async def stand_still() -> None:
        refresh = await refreshes.begin()
        has_begun.set()
        assert resume.wait(HANG)
        await until(lambda: refresh.is_over)

    async def wait() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refreshes.follow)
            await until(has_begun.is_set)
            time.sleep(0.8)  # noqa: ASYNC251 - it is to block the loop
            # The refresh now has 0.4 s, in 20 turns of this loop.
            resume.set()
            refreshes.let_go()

    run_together((anyio_backend, stand_still), (anyio_backend, wait))

    assert refreshes.begun[0].result is refreshes.result


def test_a_loop_that_waited_may_end(anyio_backend: Any, refreshes: Refreshes) -> None:
    """A watcher does not delay the end of its own loop."""
    has_ended = threading.Event()
    left: list[float] = []

    async def start() -> None:
        refreshes.join()
        await until(has_ended.is_set)
        assert not refreshes.begun[0].is_over
        refreshes.let_go()

    def wait_and_leave() -> None:
        name, options = anyio_backend
        anyio.run(leave, backend=name, backend_options=options)
        left.append(time.monotonic())
        has_ended.set()

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refreshes.follow)
            await until(lambda: refreshes.begun and refreshes.begun[0]._elsewhere)
            tasks.cancel_scope.cancel()
        left.append(time.monotonic())

    thread = threading.Thread(target=wait_and_leave)
    thread.start()
    run_together((anyio_backend, start))
    thread.join(HANG)

    # A refresh would get two seconds.
    assert left[1] - left[0] < 1.5
    assert refreshes.begun[0].result is refreshes.result


@each_pair
@pytest.mark.usefixtures("no_watch")
def test_superseding_wakes_all(refreshes: Refreshes, here: Any, there: Any) -> None:
    """Waiters of a superseded refresh, in any loop, wake up without a result and find the next one."""

    async def start() -> None:
        first = refreshes.join()

        async def wait() -> None:
            await first.wait(native())
            assert first.result is None
            assert refreshes.join() is not first

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: len(first._since) == 2)
            refreshes.coordinator.supersede()
        refreshes.let_go()

    run_together((here, start), (there, refreshes.follow))

    assert len(refreshes.begun) == 2
    assert refreshes.begun[0].result is None
    assert refreshes.begun[1].predecessor is None


@pytest.mark.usefixtures("no_watch")
def test_superseding_from_another_loop(anyio_backend: Any, refreshes: Refreshes) -> None:
    """Waiters in the refresh's own loop are also woken from another thread."""

    async def start() -> None:
        refresh = refreshes.join()
        with anyio.fail_after(HANG):
            await refresh.wait(native())
        assert refresh.result is None
        refreshes.let_go()

    async def supersede() -> None:
        await until(lambda: refreshes.begun and refreshes.begun[0]._since)
        refreshes.coordinator.supersede()

    run_together((anyio_backend, start), (anyio_backend, supersede))

    assert len(refreshes.begun) == 1


async def test_the_end_of_a_superseded_refresh_ends_no_other(refreshes: Refreshes) -> None:
    """The refresh that replaced it stays under way."""
    first = refreshes.join()
    refreshes.coordinator.supersede()
    second = refreshes.join()
    refreshes.coordinator.end(first, None)

    assert refreshes.join() is second
    assert not second.is_over
    refreshes.let_go()
    with anyio.fail_after(HANG):
        await second.wait(native())
    await until(lambda: len(refreshes.begun) == 2)


def test_a_change_wakes_sleepers(anyio_backend: Any, refreshes: Refreshes) -> None:
    """A task that sleeps until something changes, in any loop, is woken by the end of a refresh."""
    asleep: list[object] = []

    async def sleep() -> None:
        with refreshes.coordinator.sleeper() as sleeper:
            changed = sleeper.changed
            asleep.append(sleeper)
            with anyio.fail_after(HANG):
                await changed.wait()

    async def start() -> None:
        await until(lambda: len(asleep) == 3)
        refresh = refreshes.join()
        refreshes.let_go()
        await refresh.wait(native())

    run_together((anyio_backend, start), *[(ASYNCIO, sleep), (TRIO, sleep), (ASYNCIO, sleep)])

    assert not refreshes.coordinator.keeps_fresh


def test_a_sleeper_is_woken_after_its_loop_stood_still(refreshes: Refreshes) -> None:
    """A change that comes while the loop of a sleeper does not run wakes it when that runs again."""
    loop = asyncio.new_event_loop()

    async def sleep() -> None:
        with refreshes.coordinator.sleeper() as sleeper:
            await sleeper.changed.wait()

    async def begin() -> asyncio.Task[None]:
        task = asyncio.ensure_future(sleep())
        await until(lambda: refreshes.coordinator.keeps_fresh)
        return task

    task = loop.run_until_complete(begin())
    for _ in range(2):
        refreshes.coordinator.announce_change()
    loop.run_until_complete(asyncio.wait_for(task, HANG))
    loop.close()


@pytest.mark.invariant(6)
def test_a_sleeper_that_never_ends_keeps_no_loop(refreshes: Refreshes) -> None:
    """A loop that was closed while something slept in it is not kept alive."""
    loop = asyncio.new_event_loop()
    # It would complain of the task that was destroyed.
    loop.set_exception_handler(lambda *_: None)
    left = weakref.ref(loop)

    async def sleep() -> None:
        with refreshes.coordinator.sleeper() as sleeper:
            await sleeper.changed.wait()

    async def begin() -> None:
        task = asyncio.ensure_future(sleep())
        await until(lambda: refreshes.coordinator.keeps_fresh)
        assert not task.done()

    loop.run_until_complete(begin())
    loop.close()
    del loop
    gc.collect()

    assert left() is None


@pytest.mark.parametrize("change", ["announce_change", "supersede"])
async def test_a_change_is_announced_once(refreshes: Refreshes, change: str) -> None:
    """A change wakes earlier sleepers, and not later ones."""
    with refreshes.coordinator.sleeper() as sleeper:
        taken = sleeper.changed
        assert taken is sleeper.changed
        getattr(refreshes.coordinator, change)()
        with anyio.fail_after(HANG):
            await taken.wait()

        assert not sleeper.changed.is_set()


async def test_keepers(refreshes: Refreshes) -> None:
    """The token is kept fresh as long as there is a sleeper."""
    coordinator = refreshes.coordinator
    assert not coordinator.keeps_fresh
    with coordinator.sleeper() as ended:
        with pytest.raises(ZeroDivisionError), coordinator.sleeper() as failed:
            _ = 1 / 0
        assert coordinator.keeps_fresh

    assert not coordinator.keeps_fresh
    # As a traceback might, this test still holds both: that they ended is enough.
    assert ended is not failed


def test_each_loop_has_its_own_lock(anyio_backend: Any, refreshes: Refreshes) -> None:
    """The refreshes of one loop take turns; two loops do not wait for each other's lock."""
    both = threading.Barrier(2)
    locks: list[anyio.Lock] = []

    async def take() -> None:
        async with refreshes.coordinator.lock():
            locks.append(refreshes.coordinator.lock())
            assert locks[-1].locked()
            both.wait(HANG)

    run_together((anyio_backend, take), (anyio_backend, take))

    assert len(locks) == 2
    assert locks[0] is not locks[1]


def test_ended_loops_leave_no_lock(anyio_backend: Any, refreshes: Refreshes) -> None:
    """A loop that is gone takes its lock along."""
    name, options = anyio_backend

    async def take() -> None:
        async with refreshes.coordinator.lock():
            pass

    for _ in range(5):
        anyio.run(take, backend=name, backend_options=options)
    gc.collect()

    assert len(refreshes.coordinator._locks._loops.get().values) <= 1
