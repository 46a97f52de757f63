from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from taxizer_async._token.single_flight import Flight, Seat, _part_of
from tests.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._token.cached_token import CachedToken


async def test_one_leads() -> None:
    """The first task leads, and others find its flight."""
    seat = Seat()
    flight = seat.try_lead()
    answers: list[object] = []

    async def other() -> None:
        answers.append(seat.try_lead())
        answers.append(seat.flight)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)

    assert flight is not None
    assert answers == [None, flight]
    seat.land(flight)


async def test_after_landing_another_leads() -> None:
    """A landed flight makes room for the next."""
    seat = Seat()
    first = seat.try_lead()
    assert first is not None
    seat.land(first)
    second = seat.try_lead()
    assert second is not None

    assert second is not first
    assert not second._landed.is_set()
    seat.land(second)


async def test_landing_wakes_all(hold: Callable[..., CachedToken]) -> None:
    """All who wait for a flight wake up when it lands, and find what came of it."""
    seat = Seat()
    found: list[CachedToken | None] = []
    waiting = 0
    held = hold()

    async def wait() -> None:
        nonlocal waiting
        assert seat.try_lead() is None
        flight = seat.flight
        waiting += 1
        await flight._landed.wait()
        found.append(flight.held)

    flight = seat.try_lead()
    assert flight is not None
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert waiting == 100
            flight.held = held
            seat.land(flight)

    assert found == [held] * 100


async def test_a_cancelled_waiter_hurts_nobody() -> None:
    """A waiter who is cancelled leaves at once; leader and other waiters do not notice."""
    seat = Seat()
    woken: list[str] = []
    scopes: dict[str, anyio.CancelScope] = {}

    async def wait(name: str) -> None:
        with anyio.CancelScope() as scopes[name]:
            await seat.flight._landed.wait()
            woken.append(name)

    flight = seat.try_lead()
    assert flight is not None
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
            scopes["b"].cancel()
            await anyio.wait_all_tasks_blocked()
            assert seat.flight is flight
            seat.land(flight)

    assert sorted(woken) == ["a", "c"]


@pytest.mark.report(5)
async def test_a_waiter_cancelled_at_the_landing() -> None:
    """A waiter who is cancelled in the very tick of the landing takes no wake-up along (report 5)."""
    seat = Seat()
    woken: list[int] = []
    scopes: list[anyio.CancelScope] = []

    async def wait(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await seat.flight.wait()
            woken.append(number)

    flight = seat.try_lead()
    assert flight is not None
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            scopes[0].cancel()
            seat.land(flight)
            again = seat.try_lead()
            assert again is not None
            seat.land(again)

    assert len(woken) >= 3


async def test_a_leader_does_not_wait_for_itself() -> None:
    """Not even from within another flight that it leads meanwhile: that is told, and not for ever."""
    outer_seat, inner_seat = Seat(), Seat()
    outer = outer_seat.try_lead()
    assert outer is not None
    inner = inner_seat.try_lead()
    assert inner is not None

    with anyio.fail_after(HANG):
        for flight in (outer, inner):
            with pytest.raises(RuntimeError, match="from within the login"):
                await flight.wait()
    inner_seat.land(inner)
    outer_seat.land(outer)


async def test_what_a_leader_started_may_wait() -> None:
    """A task that it does not wait for itself is a caller like others, though it has its context."""
    seat = Seat()
    flight = seat.try_lead()
    assert flight is not None
    served: list[Flight] = []

    async def wait() -> None:
        await flight.wait()
        served.append(flight)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            seat.land(flight)

    assert served == [flight]


async def test_flights_of_the_past_are_not_kept() -> None:
    """However often a task leads, nothing of it stays but what is under way."""
    seat = Seat()
    for _ in range(3):
        flight = seat.try_lead()
        assert flight is not None
        seat.land(flight)

    assert len(_part_of.get()) == 1


async def test_a_flight_begins_with_nothing() -> None:
    """A flight whose leader was cancelled has neither a token nor a failure."""
    seat = Seat()
    flight = seat.try_lead()
    assert flight is not None
    seat.land(flight)

    assert flight.held is None
    assert flight.failure is None
    assert flight._landed.is_set()


async def test_landing_is_a_change() -> None:
    """Who waits for a change of the token wakes up when a flight lands."""
    seat = Seat()
    flight = seat.try_lead()
    assert flight is not None
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(seat.changed.wait)
            await anyio.wait_all_tasks_blocked()
            seat.land(flight)


async def test_a_change_is_announced_once() -> None:
    """A change wakes those who took it before, and not those who come later."""
    seat = Seat()
    seat.announce_change()
    taken = seat.changed
    assert taken is seat.changed
    assert not taken.is_set()
    seat.announce_change()

    assert taken.is_set()
    assert not seat.changed.is_set()
