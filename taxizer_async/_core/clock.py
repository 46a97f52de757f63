"""
The clock that everything here reads, so that a test can bring its own.

Only durations that a token's life or a back-off is made of go through it. Deadlines of I/O are the
event loop's.
"""

from __future__ import annotations

import functools
import sys
import time

from typing import TYPE_CHECKING, Final, Protocol, final

import anyio


if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """Two times and a way to wait."""

    def monotonic(self) -> float:
        """Return seconds that never jump, and go on while the machine sleeps."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch, as this machine believes them to be."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait for *seconds* of `monotonic`."""
        ...


def find_boot_clock() -> Callable[[], float]:
    """Return the machine's clock that never jumps and counts its sleep, or else `time.monotonic`."""
    # On Linux and macOS that one stands still while the machine sleeps.
    name = "CLOCK_MONOTONIC_RAW" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    try:
        # No Python function around it, as each request asks it.
        clock = functools.partial(time.clock_gettime, getattr(time, name))
        clock()
    except (AttributeError, OSError):
        return time.monotonic
    return clock


#: Returns the seconds since the machine's start, or another fixed moment; sleep is counted.
boot_time: Final = find_boot_clock()


@final
class SystemClock:
    """The machine's own."""

    __slots__ = ()

    monotonic = staticmethod(boot_time)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float, /) -> None:
        """Wait for *seconds*."""
        await anyio.sleep(seconds)
