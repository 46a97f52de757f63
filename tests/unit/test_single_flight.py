from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import anyio
import pytest

from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.single_flight import RefreshCoordinator, SharedRefresh
from tests.support.limits import HANG
from tests.support.loops import native
from tests.support.tokens import make_cached


_mark: ContextVar[str] = ContextVar("mark", default="nothing")


@pytest.fixture(name="refresh")
async def _refresh() -> SharedRefresh:
    return SharedRefresh(native())


def _end(refresh: SharedRefresh, result: CachedToken | None = None) -> None:
    assert refresh.finish(result)
    refresh.wake_own_loop()


async def test_begins_with_nothing(refresh: SharedRefresh) -> None:
    """A refresh begins without an end, a result or waiters."""
    assert not refresh.is_over
    assert refresh.result is None
    assert refresh.lease is None
    assert refresh.waits == []
    assert refresh.loop.is_same(native())


async def test_its_end_wakes_all(refresh: SharedRefresh) -> None:
    """All waiters wake up when the refresh ends, and find its result."""
    found: list[object] = []
    cached = make_cached()

    async def wait() -> None:
        await refresh.wait(native())
        found.append(refresh.result)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            _end(refresh, cached)
        await refresh.wait(native())

    assert found == [cached] * 100
    assert len(refresh.waits) == 100


async def test_it_ends_once(refresh: SharedRefresh) -> None:
    """A second end changes nothing and returns False."""
    first, second = make_cached("1"), make_cached("2")

    assert refresh.finish(first) is True
    assert refresh.finish(second) is False
    assert refresh.finish(None) is False
    assert refresh.result is first


async def test_its_end_drops_references(refresh: SharedRefresh) -> None:
    """A refresh that is over holds neither its task nor the refresh before it."""
    _end(refresh)
    later = SharedRefresh(native(), predecessor=refresh)
    assert later.predecessor is refresh
    _end(later)

    assert later.predecessor is None
    assert later.task is None


async def test_a_cancelled_waiter_affects_no_other(refresh: SharedRefresh) -> None:
    """A cancelled waiter leaves at once; the refresh and other waiters do not notice."""
    woken: list[str] = []
    scopes: dict[str, anyio.CancelScope] = {}

    async def wait(name: str) -> None:
        with anyio.CancelScope() as scopes[name]:
            await refresh.wait(native())
            woken.append(name)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
            scopes["b"].cancel()
            await anyio.wait_all_tasks_blocked()
            assert len(refresh.waits) == 1
            assert not refresh.is_over
            _end(refresh)

    assert sorted(woken) == ["a", "c"]
    assert len(refresh.waits) == 3


async def test_all_waiters_are_cancelled(refresh: SharedRefresh) -> None:
    """A refresh goes on after all its waiters have left, and can be waited for again."""
    found: list[object] = []

    async def wait() -> None:
        await refresh.wait(native())
        found.append(refresh.result)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert found == []
        assert not refresh.is_over
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            _end(refresh, make_cached())

    assert found == [make_cached()]
    assert len(refresh.waits) == 4


@pytest.mark.report(5)
async def test_a_waiter_cancelled_as_it_ends(refresh: SharedRefresh) -> None:
    """A waiter that is cancelled in the very tick of the end loses no wake-up (report 5)."""
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
            _end(refresh)

    assert {1, 2, 3} <= set(woken)
    assert len(refresh.waits) == 4


async def test_a_wait_for_no_caller_is_not_counted(refresh: SharedRefresh) -> None:
    """The wait of `keep_fresh`, which keeps no caller waiting, is not counted."""
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: refresh.wait(native(), counts=False))
            tasks.start_soon(refresh.wait, native())
            await anyio.wait_all_tasks_blocked()
            _end(refresh)

    assert len(refresh.waits) == 1


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
