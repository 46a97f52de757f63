"""A clock that stands still until a test moves it."""

from __future__ import annotations

from typing import Final, final

import anyio
import anyio.lowlevel
import attrs


#: Seconds by which a sum of durations may be off.
_ROUNDING: Final = 1e-6


@attrs.frozen(eq=False)
class _Sleeper:
    until: float
    awake: anyio.Event


@final
class ManualClock:
    """
    Give it as *clock* to a `TaxizerAuth`, then move time as the test needs it.

    Deadlines of network calls follow the event loop's clock, not this one.

    Args:
        start: The wall time to begin with, in epoch seconds.
        autojump: Whether a sleep advances the clock itself, and so takes no time.
    """

    def __init__(self, *, start: float = 1_800_000_000.0, autojump: bool = False) -> None:
        self._monotonic = 1_000.0
        self._wall = start
        self._autojump = autojump
        self._sleepers: list[_Sleeper] = []
        self._asleep = anyio.Event()

    def monotonic(self) -> float:
        """Return seconds that only `advance` moves; the age of a token is counted in them."""
        return self._monotonic

    def wall(self) -> float:
        """Return epoch seconds that `advance` and `jump` move."""
        return self._wall

    async def sleep(self, seconds: float, /) -> None:
        """Wait until the clock has been advanced by *seconds*."""
        if self._autojump:
            self.advance(max(0.0, seconds))
        if self._autojump or seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        # A shorter sleep would be lost to rounding, and a caller that sleeps in a loop would never get on.
        sleeper = _Sleeper(self._monotonic + max(seconds, 2 * _ROUNDING), anyio.Event())
        self._sleepers.append(sleeper)
        self._asleep.set()
        self._asleep = anyio.Event()
        try:
            await sleeper.awake.wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass, with the machine awake or asleep, and wake the sleepers that are due."""
        if seconds < 0:
            msg = "time does not run backwards: use jump() to set the wall clock"
            raise ValueError(msg)
        self._monotonic += seconds
        self._wall += seconds
        for sleeper in tuple(self._sleepers):
            # The time plus `next_wake` may fall short by a rounding error.
            if sleeper.until <= self._monotonic + _ROUNDING:
                self._sleepers.remove(sleeper)
                sleeper.awake.set()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward (below 0: back), as a time server does; no token ages by that."""
        self._wall += seconds

    @property
    def next_wake(self) -> float | None:
        """Seconds until the first sleeper is due; None if nothing sleeps on this clock."""
        if not self._sleepers:
            return None
        return min(sleeper.until for sleeper in self._sleepers) - self._monotonic

    async def wait_until_asleep(self) -> None:
        """Wait until something sleeps on this clock."""
        while not self._sleepers:
            await self._asleep.wait()
