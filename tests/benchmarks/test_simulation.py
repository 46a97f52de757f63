"""The simulated crowd is the package's own, and does what a real one has to do."""

from __future__ import annotations

import anyio
import pytest

from benchmarks.counted_store import CountedStore
from benchmarks.simulation import Course, simulate
from benchmarks.virtual_time import VirtualClock, VirtualLoop
from taxizer_async import MemoryTokenStore
from taxizer_async.testing import check_token_store


WORKERS = 40
#: Commands per second of a store that is never busy, and of one that is much too slow.
PLENTY, TOO_FEW = 1e6, 10.0


def test_a_cold_crowd_logs_in_once() -> None:
    """All have the token of one login, and each looks a few times for it."""
    course = simulate("cold start", WORKERS, capacity=PLENTY)

    assert (len(course.asked), len(course.served), course.failed) == (1, WORKERS, [])
    assert course.per_worker < 15
    assert course.last < 1


def test_a_renewal_ahead_of_need_costs_no_waiting() -> None:
    """One worker renews, and each of the others finds the new token with its first look, or its second."""
    course = simulate("renewal", WORKERS, capacity=PLENTY)

    assert (len(course.asked), len(course.served)) == (1, WORKERS)
    assert course.per_worker <= 2


def test_a_crowd_with_a_wrong_secret_fails_once() -> None:
    """The refusal of one login is everybody's."""
    course = simulate("wrong secret", WORKERS, capacity=PLENTY)

    assert (course.served, len(course.failed)) == ([], WORKERS)
    assert len(course.asked) <= 2
    assert course.last < 3


def test_a_crowd_waits_out_an_outage_behind_one_worker() -> None:
    """One worker tries, at its own pace; all have failed once the time of a login is over."""
    course = simulate("outage", WORKERS, capacity=PLENTY)

    assert (course.served, len(course.failed)) == ([], WORKERS)
    assert len(course.asked) < 30
    assert course.last < 31
    # Of four looks in a second, with jitter.
    assert course.per_worker < 31 * 5


def test_a_store_that_is_too_slow_is_done_without() -> None:
    """Workers that the store does not answer in time log in by themselves, and get their tokens."""
    course = simulate("cold start", WORKERS, capacity=TOO_FEW)

    assert len(course.served) == WORKERS
    assert course.unserved > 0
    assert len(course.asked) > 1


def test_the_same_seed_is_the_same_course() -> None:
    """A figure can be had again."""
    first, again = (simulate("cold start", WORKERS, capacity=PLENTY) for _ in range(2))

    assert first == again
    assert simulate("cold start", WORKERS, capacity=PLENTY, seed=2) != first


def test_rates_count_each_command_once() -> None:
    """The rates of a course add up to its commands, and the busiest second is found."""
    course = Course(
        workers=2, commands=[0.0, 0.1, 1.6], asked=[], served=[1.0], failed=[2.5], unserved=0
    )

    assert course.rates(1.0) == [(0.0, 2.0), (1.0, 1.0)]
    assert course.rates(0.5) == [(0.0, 4.0), (0.5, 0.0), (1.0, 0.0), (1.5, 2.0)]
    assert (course.peak(), course.per_worker, course.last) == (2.0, 1.5, 2.5)


def test_what_would_never_end_is_an_error() -> None:
    """On the virtual clock a wait for nothing raises, as it would block for ever."""

    async def wait() -> None:
        await anyio.Event().wait()

    with pytest.raises(RuntimeError, match="every task waits"):
        anyio.run(wait, backend_options={"loop_factory": VirtualLoop})


def test_virtual_time_always_goes_on() -> None:
    """A sleep that is too short for the clock takes a moment, so that a loop of such sleeps comes to an end."""

    async def sleep() -> float:
        clock = VirtualClock()
        await clock.sleep(1_000.0)
        began = clock.monotonic()
        await clock.sleep(1e-20)
        return clock.monotonic() - began

    assert anyio.run(sleep, backend_options={"loop_factory": VirtualLoop}) > 0


async def test_the_counted_store_is_a_store() -> None:
    """It keeps all the rules of the store in it, and counts the calls."""
    store = CountedStore(MemoryTokenStore())

    assert await check_token_store(lambda: store)
    assert store.calls > 100
