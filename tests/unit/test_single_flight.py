from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import anyio
import pytest

from taxizer_async._token.single_flight import RefreshCoordinator, SharedRefresh, sleep_unless
from taxizer_async.testing import ManualClock
from tests.support.limits import HANG
from tests.support.loops import native
from tests.support.tokens import make_cached


_mark: ContextVar[str] = ContextVar("mark", default="nothing")


@pytest.mark.report(5)
async def test_a_waiter_cancelled_as_it_ends() -> None:
    """A waiter that is cancelled in the very tick of the end loses no wake-up (report 5)."""
    refresh = SharedRefresh(native())
    woken: list[int] = []
    scopes: dict[int, anyio.CancelScope] = {}

    async def wait(number: int) -> None:
        with anyio.CancelScope() as scopes[number]:
            await refresh.wait(native())
            woken.append(number)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()
            assert refresh.finish(None)
            refresh.wake_own_loop()

    assert {1, 2, 3} <= set(woken)
    assert len(refresh.waits) == 4
    assert all(0 <= seconds < HANG for seconds in refresh.waits)


async def test_a_caller_that_leaves_is_counted_once() -> None:
    """The wait of a caller that is cancelled is known from then on, and as it was."""
    refresh = SharedRefresh(native())
    with anyio.move_on_after(0.01):
        await refresh.wait(native())
    (waited,) = refresh.waits
    assert 0 <= waited < HANG
    assert refresh.finish(None)

    assert refresh.waits == [waited]


async def test_it_ends_once() -> None:
    """What comes after its end changes nothing."""
    refresh = SharedRefresh(native())
    assert refresh.result is None
    assert refresh.finish(make_cached())
    result = refresh.result

    assert not refresh.finish(None)
    assert refresh.result is result


async def test_its_end_drops_references() -> None:
    """A refresh that is over holds neither its task nor the refresh before it."""
    later = SharedRefresh(native(), predecessor=SharedRefresh(native()))
    assert later.predecessor is not None
    assert later.finish(None)

    assert later.predecessor is None
    assert later.task is None


async def _run_inside(body: Callable[[RefreshCoordinator, SharedRefresh], object]) -> list[object]:
    """Run *body* in a refresh, and return its results or errors."""
    outcomes: list[object] = []

    async def run(refresh: SharedRefresh) -> None:
        refresh.enter()
        try:
            outcomes.append(await body(coordinator, refresh))  # type: ignore[misc]
        except RuntimeError as error:
            outcomes.append(error)
        coordinator.end(refresh, None)

    coordinator = RefreshCoordinator(run)
    with anyio.fail_after(HANG):
        await coordinator.join_or_start(native(), None).wait(native())
    return outcomes


async def test_it_is_under_way_until_it_ends() -> None:
    """A coordinator knows whether a refresh is under way."""
    coordinators: list[RefreshCoordinator] = []

    async def look(coordinator: RefreshCoordinator, _: SharedRefresh) -> bool:
        coordinators.append(coordinator)
        return coordinator.is_under_way

    assert await _run_inside(look) == [True]
    assert [each.is_under_way for each in coordinators] == [False]


async def test_a_refresh_does_not_wait_for_itself() -> None:
    """A login that asks for its own token gets an error instead of hanging."""

    async def join(coordinator: RefreshCoordinator, refresh: SharedRefresh) -> None:
        joined = coordinator.join_or_start(native(), None)
        assert joined is refresh
        await joined.wait(native())

    (error,) = await _run_inside(join)

    assert isinstance(error, RuntimeError)
    assert "would wait for itself" in str(error)


async def test_what_a_refresh_started_may_wait() -> None:
    """A task that the refresh started may wait for it, though it has its context."""
    served: list[SharedRefresh] = []

    async def wait(refresh: SharedRefresh) -> None:
        await refresh.wait(native())
        served.append(refresh)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:

            async def start(_: RefreshCoordinator, refresh: SharedRefresh) -> SharedRefresh:
                tasks.start_soon(wait, refresh)
                await anyio.wait_all_tasks_blocked()
                return refresh

            outcomes = await _run_inside(start)

    assert served == outcomes
    assert len(served) == 1


async def test_a_refresh_has_its_own_context() -> None:
    """A refresh sees nothing of its starter's context, such as a request id."""
    _mark.set("the caller's")

    async def look(_: RefreshCoordinator, _refresh: SharedRefresh) -> str:
        return _mark.get()

    assert await _run_inside(look) == ["nothing"]


@pytest.mark.parametrize("changes", [False, True])
async def test_a_sleep_ends_with_its_time_or_with_a_change(changes: bool) -> None:
    """A sleep lasts until its time is over or something changes, whichever comes first."""
    clock, changed = ManualClock(), anyio.Event()
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep_unless, changed, clock, 60.0)
            await clock.wait_until_asleep()
            if changes:
                changed.set()
            else:
                clock.advance(60.0)
