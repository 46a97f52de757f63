from __future__ import annotations

import gc
import os
import threading

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from taxizer_async._token.single_flight import Airfield, Seat


if TYPE_CHECKING:
    from collections.abc import Callable


async def test_a_loop_has_one_seat() -> None:
    """All tasks of an event loop share one seat."""
    airfield = Airfield()
    seats: list[Seat] = []

    async def look() -> None:
        await anyio.lowlevel.checkpoint()
        seats.append(airfield.seat())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(look)

    assert set(seats) == {airfield.seat()}


def _in_loops(backend: Any, count: int, main: Callable[[], Any]) -> None:
    """Run *main* in as many threads, each with a loop of its own."""
    name, options = backend
    threads = [
        threading.Thread(
            target=anyio.run, args=(main,), kwargs={"backend": name, "backend_options": options}
        )
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_each_loop_has_its_own_seat(anyio_backend: Any) -> None:
    """Two loops in two threads lead a flight each, at the same time."""
    airfield = Airfield()
    both = threading.Barrier(2)
    led: list[Seat] = []

    async def lead() -> None:
        seat = airfield.seat()
        flight = seat.try_lead()
        await anyio.to_thread.run_sync(both.wait, 10)
        assert flight is not None
        led.append(seat)
        seat.land(flight)

    _in_loops(anyio_backend, 2, lead)

    assert len(led) == 2
    assert led[0] is not led[1]


@pytest.mark.report(17)
def test_one_runway_for_all_loops(anyio_backend: Any) -> None:
    """Of all loops of the process one at a time is cleared, and the others are told at once (report 17)."""
    airfield = Airfield()
    asked = threading.Barrier(4)
    cleared: list[bool] = []

    async def start() -> None:
        with airfield.try_runway() as mine:
            cleared.append(mine)
            await anyio.to_thread.run_sync(asked.wait, 10)

    _in_loops(anyio_backend, 4, start)

    assert sorted(cleared) == [False, False, False, True]
    with airfield.try_runway() as mine:
        assert mine


def test_the_runway_is_free_after_an_error() -> None:
    """Whatever ends a flight, the runway is free again; who did not have it frees nothing."""
    airfield = Airfield()
    with airfield.try_runway() as first:
        with airfield.try_runway() as second:
            assert (first, second) == (True, False)
        with airfield.try_runway() as third:
            assert not third
    with pytest.raises(ZeroDivisionError), airfield.try_runway():
        _ = 1 / 0

    with airfield.try_runway() as mine:
        assert mine


@pytest.mark.report(24)
def test_a_second_run(anyio_backend: Any) -> None:
    """Each `run` has a new loop, and a seat that knows nothing of the last one's (report 24)."""
    airfield = Airfield()
    name, options = anyio_backend
    flights = []

    async def lead() -> None:
        flights.append(airfield.seat().try_lead())

    for _ in range(2):
        anyio.run(lead, backend=name, backend_options=options)

    assert None not in flights
    assert flights[0] is not flights[1]


def test_dead_loops_leave_nothing(anyio_backend: Any) -> None:
    """A loop that is gone takes its seat along."""
    airfield = Airfield()
    name, options = anyio_backend

    async def sit() -> None:
        airfield.seat()

    for _ in range(5):
        anyio.run(sit, backend=name, backend_options=options)
    gc.collect()

    assert len(airfield._seats) <= 1


def test_keepers() -> None:
    """Keepers are counted in and out, from any thread."""
    airfield = Airfield()

    def add() -> None:
        for _ in range(500):
            airfield.add_keeper(1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    airfield.add_keeper(-1)

    assert airfield.keepers == 1999


def test_knows_its_process() -> None:
    """An airfield knows which process it belongs to."""
    assert Airfield().pid == os.getpid()
