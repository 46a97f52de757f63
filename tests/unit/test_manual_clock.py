from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from taxizer_async.testing._manual_clock import ManualClock
from tests.support.limits import HANG


def test_stands_still(clock: ManualClock) -> None:
    """Only the test moves the clock."""
    assert clock.monotonic() == clock.monotonic()
    assert clock.wall() == clock.wall() == 1_800_000_000.0
    assert ManualClock(start=5.0).wall() == 5.0


def test_advance(clock: ManualClock) -> None:
    """Time that passes moves both clocks."""
    monotonic, wall = clock.monotonic(), clock.wall()
    clock.advance(2.5)
    clock.advance(0)

    assert clock.monotonic() == monotonic + 2.5
    assert clock.wall() == wall + 2.5


@pytest.mark.parametrize("seconds", [3600.0, -86_400.0])
def test_jump(clock: ManualClock, seconds: float) -> None:
    """A jump, forward or back, moves only the wall clock."""
    monotonic, wall = clock.monotonic(), clock.wall()
    clock.jump(seconds)

    assert clock.monotonic() == monotonic
    assert clock.wall() == wall + seconds


def test_no_way_back(clock: ManualClock) -> None:
    """Time does not run backwards."""
    with pytest.raises(ValueError, match="use jump"):
        clock.advance(-1)


async def test_sleepers_wake_in_their_time(clock: ManualClock) -> None:
    """Each sleeper wakes at its time, not before, and not by a jump."""
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with anyio.create_task_group() as tasks:
        for seconds in (30, 10, 20):
            tasks.start_soon(sleep, seconds)
        await anyio.wait_all_tasks_blocked()
        clock.jump(1e6)
        clock.advance(9.9)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        clock.advance(0.2)
        await anyio.wait_all_tasks_blocked()
        assert woken == [10]
        clock.advance(100)

    assert sorted(woken) == [10, 20, 30]


async def test_next_wake(clock: ManualClock) -> None:
    """The clock knows how long the first of its sleepers still sleeps."""
    assert clock.next_wake is None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 30)
        tasks.start_soon(clock.sleep, 10)
        await anyio.wait_all_tasks_blocked()
        assert clock.next_wake == 10
        clock.advance(4)
        assert clock.next_wake == 6
        tasks.cancel_scope.cancel()

    assert clock.next_wake is None


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_is_a_checkpoint(clock: ManualClock, seconds: float) -> None:
    """A sleep of no time only lets others run, and can be cancelled."""
    with anyio.fail_after(HANG):
        await clock.sleep(seconds)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(seconds)

    assert scope.cancelled_caught


async def test_autojump() -> None:
    """A clock that jumps by itself makes a sleep take no time, and still lets others run."""
    clock = ManualClock(autojump=True)
    start = clock.monotonic()
    with anyio.fail_after(HANG):
        await clock.sleep(3600)
        await clock.sleep(-5)

    assert clock.monotonic() == start + 3600
    assert clock.next_wake is None


async def test_wait_until_asleep(clock: ManualClock) -> None:
    """A test can wait until its subject sleeps, without sleeping itself."""

    async def late() -> None:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        await clock.sleep(10)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late)
            await clock.wait_until_asleep()
            assert clock.next_wake == 10
            await clock.wait_until_asleep()
            clock.advance(10)


async def test_a_woken_sleeper_does_not_count(clock: ManualClock) -> None:
    """A woken sleeper no longer counts, even before it has run."""
    laps = 0

    async def run() -> None:
        nonlocal laps
        for _ in range(5):
            await clock.sleep(1)
            laps += 1

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for lap in range(5):
                await clock.wait_until_asleep()
                assert laps == lap
                clock.advance(1)
                assert clock.next_wake is None


def test_belongs_to_no_loop(anyio_backend: tuple[str, dict[str, object]]) -> None:
    """A clock that is made outside an event loop works in one."""
    name, options = anyio_backend
    clock = ManualClock()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.sleep, 10)
            await clock.wait_until_asleep()
            clock.advance(10)

    anyio.run(main, backend=name, backend_options=options)
