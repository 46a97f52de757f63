"""
Time-outs that are counted in turns of the event loop or thread that waits, rather than on a clock.

While a loop is blocked, by an import or a model, it reads no answers. So a turn counts for its nominal
length, however late it comes: a loop that stalled is not a call that failed.
"""

from __future__ import annotations

import contextlib
import math

from collections.abc import Callable, Generator
from typing import Final, final

import anyio

from taxizer_async._core.event_loops import (
    Cancellable,
    EventLoop,
    call_later,
    no_cancellation_lost,
    running_loop,
)


#: The seconds that a turn counts for, at most.
_TURN: Final = 0.05
#: The fewest turns of a time-out: an answer, or a connection, takes several of a busy loop.
_FEWEST_TURNS: Final = 15


@contextlib.contextmanager
def move_on_after_turns(seconds: float, *, shield: bool = False) -> Generator[anyio.CancelScope]:
    """Return a cancel scope that is cancelled after *seconds*, counted in turns."""
    with (
        no_cancellation_lost(),
        anyio.CancelScope(shield=shield) as scope,
        Countdown(seconds, scope.cancel),
    ):
        yield scope


@final
class Countdown:
    """Makes *call* after *seconds*, counted in turns of the running loop, unless its context is left before."""

    __slots__ = ("_call", "_left", "_native", "_timer", "_turn")

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._left = max(_FEWEST_TURNS, math.ceil(seconds / _TURN))
        self._turn = seconds / self._left
        self._call = call
        self._native = running_loop()
        self._timer: Cancellable = call_later(self._native, self._turn, self._end_turn)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end_turn(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = call_later(self._native, self._turn, self._end_turn)
        else:
            self._call()


@final
class SilentTurns:
    """Counts for how many turns of the one that waits *loop* has not reacted."""

    __slots__ = ("_is_asked", "_loop", "_turns")

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._is_asked = False
        self._turns = 0

    def count(self) -> int:
        """Count another turn; return how many there were since the loop was asked to react."""
        if self._is_asked:
            self._turns += 1
        else:
            self._turns, self._is_asked = 0, True
            self._loop.call_soon(self._answer)
        return self._turns

    def _answer(self) -> None:
        self._is_asked = False
