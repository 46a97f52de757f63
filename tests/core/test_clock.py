from __future__ import annotations

import time

import anyio
import pytest

from taxizer_async._clock import SystemClock


def test_reads_the_machine() -> None:
    """Without a test's clock, time is the machine's own."""
    clock = SystemClock()

    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=60)
    assert clock.wall() == pytest.approx(time.time(), abs=60)


async def test_sleep_lasts() -> None:
    """A sleep takes as long as it was asked for, and can be cancelled."""
    clock = SystemClock()
    began = clock.monotonic()
    await clock.sleep(0.01)
    with anyio.move_on_after(0.01) as scope:
        await clock.sleep(60)

    assert scope.cancelled_caught
    assert 0.01 <= clock.monotonic() - began < 30
