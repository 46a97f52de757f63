from __future__ import annotations

import functools
import sys
import time

import anyio
import pytest

from taxizer_async._core.clock import SystemClock, find_boot_clock


def test_reads_the_machine() -> None:
    """By default the clock is the machine's."""
    assert SystemClock().wall() == pytest.approx(time.time(), abs=60)


@pytest.mark.skipif(sys.platform == "win32", reason="time.monotonic counts a sleep there")
def test_counts_the_machines_sleep() -> None:
    """Ages use the machine's clock that counts sleep, without a Python function around it."""
    # Not compared by value: on a machine that has never slept all clocks agree.
    clock: object = SystemClock().monotonic
    name = "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME"

    assert isinstance(clock, functools.partial)
    assert (clock.func, clock.args) == (time.clock_gettime, (getattr(time, name),))
    assert 0 <= clock() <= clock()


@pytest.mark.parametrize("missing", ["no name", "no clock"])
def test_goes_without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without a clock that counts sleep, `time.monotonic` is used."""
    if missing == "no name":
        monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
        monkeypatch.delattr(time, "CLOCK_MONOTONIC_RAW", raising=False)
    else:
        monkeypatch.setattr(time, "CLOCK_BOOTTIME", 1_000_000, raising=False)
        monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", 1_000_000, raising=False)

    assert find_boot_clock() is time.monotonic


async def test_sleep_lasts() -> None:
    """A sleep takes as long as requested, and can be cancelled."""
    clock = SystemClock()
    began = clock.monotonic()
    await clock.sleep(0.01)
    with anyio.move_on_after(0.01) as scope:
        await clock.sleep(60)

    assert scope.cancelled_caught
    assert 0.01 <= clock.monotonic() - began < 30
