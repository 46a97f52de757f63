"""
The clock that everything here reads, so that a test can bring its own.

Only durations that a token's life or a back-off is made of go through it. Deadlines of I/O are the
event loop's.
"""

from __future__ import annotations

import time

from typing import Protocol, final

import anyio


class Clock(Protocol):
    """Two times and a way to wait."""

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...

    def wall(self) -> float:
        """Return seconds since the Unix epoch, as this machine believes them to be."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait for *seconds* of `monotonic`."""
        ...


@final
class SystemClock:
    """The machine's own."""

    __slots__ = ()

    # As they are, since each request asks both.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    async def sleep(self, seconds: float, /) -> None:
        """Wait for *seconds*."""
        await anyio.sleep(seconds)
