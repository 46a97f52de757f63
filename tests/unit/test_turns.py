from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import pytest

from taxizer_async._core.turns import Countdown, move_on_after_turns
from tests.support.limits import HANG


async def test_what_does_not_end_is_cancelled() -> None:
    """A wait that is never answered is cancelled, and not before its seconds are over."""
    began = time.monotonic()
    with anyio.fail_after(HANG), move_on_after_turns(0.3) as scope:
        await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert time.monotonic() - began >= 0.3


async def _stall_once_begun(seconds: float) -> None:
    await anyio.lowlevel.checkpoint()
    time.sleep(seconds)  # noqa: ASYNC251 - this is the stall


@pytest.mark.report(152)
async def test_a_stall_of_the_loop_is_no_more_than_a_turn() -> None:
    """A loop that was blocked for longer than a time-out gets the turns that an answer takes."""
    with move_on_after_turns(0.3) as scope:
        for _ in range(3):
            await _stall_once_begun(0.4)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()

    assert not scope.cancel_called


@pytest.mark.report(152)
async def test_stalls_do_not_make_a_time_out_endless() -> None:
    """A loop that stalls again and again gives up at last what does not end."""
    with anyio.fail_after(HANG), move_on_after_turns(0.1) as scope:
        while True:  # each turn is later than it should be
            time.sleep(0.01)  # noqa: ASYNC251 - this is the stall
            await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught


async def test_what_ended_in_time_is_left_alone() -> None:
    """A time-out that was left does nothing later."""
    calls: list[str] = []
    later = anyio.Event()
    with Countdown(0.01, lambda: calls.append("too late")):
        await anyio.lowlevel.checkpoint()
    with anyio.fail_after(HANG), Countdown(0.1, later.set):
        await later.wait()

    assert calls == []
