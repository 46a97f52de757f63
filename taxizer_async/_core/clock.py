"""
The clock for tokens' lifetimes and back-offs, which tests can replace.

Deadlines of I/O use the event loop's clock instead.
"""

from __future__ import annotations

import functools
import sys
import time

from collections.abc import Callable
from typing import Final, Protocol, final

import anyio


class Clock(Protocol):
    """Two kinds of time, and a way to wait."""

    def monotonic(self) -> float:
        """Return seconds that never jump, and that count the machine's sleep."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch, by this machine's clock, which may be wrong."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait for *seconds* of `monotonic`."""
        ...


def find_boot_clock() -> Callable[[], float]:
    """Return a clock that never jumps and counts the machine's sleep; `time.monotonic` if there is none."""
    # `time.monotonic` stands still while Linux or macOS sleeps.
    name = "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    try:
        # Not wrapped in a Python function, as each request calls it.
        clock = functools.partial(time.clock_gettime, getattr(time, name))
        clock()
    except (AttributeError, OSError):
        return time.monotonic
    return clock


#: Returns seconds since the machine started, or since another fixed moment.
boot_time: Final = find_boot_clock()


#: Why nothing is waited for on a clock that `is_frozen`.
FROZEN: Final = (
    "the event loop's clock is frozen, so a pause would never end: let it tick (freezegun: "
    "freeze_time(..., tick=True)), and age tokens with taxizer_async.testing.ManualClock"
)


@final
class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    monotonic = staticmethod(boot_time)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float, /) -> None:
        await anyio.sleep(seconds)


def is_frozen(clock: Clock) -> bool:
    """Return whether *clock* is this machine's and a test has frozen it, together with the event loop's."""
    if not isinstance(clock, SystemClock) or time.monotonic is boot_time:
        return False
    before = time.monotonic(), anyio.current_time()
    began = boot_time()
    # It is out of such a library's reach, and moves on within microseconds.
    while boot_time() == began:
        pass
    return (time.monotonic(), anyio.current_time()) == before
