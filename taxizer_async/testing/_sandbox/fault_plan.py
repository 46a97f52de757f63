"""Whose turn it is to fail or to be held: the part of a sandbox that its user directs."""

from __future__ import annotations

import collections
import threading

from typing import TYPE_CHECKING, final

from taxizer_async.testing._sandbox.gate import Gate, Signal


if TYPE_CHECKING:
    from taxizer_async.testing._sandbox.faults import Fault


_GROUPS = frozenset({"connect", "refresh", "resource"})


@final
class _Turn:
    """A fault and how many more requests get it; None is all."""

    __slots__ = ("fault", "times")

    def __init__(self, fault: Fault, times: int | None) -> None:
        self.fault = fault
        self.times = times


@final
class Script:
    """Faults and gates per place: a group of endpoints or one exact path, which goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, collections.deque[_Turn]] = {}
        self._healings: dict[str, Signal] = {}
        self._gates: tuple[Gate, ...] = ()

    def fail(self, where: str, fault: Fault, times: int | None) -> None:
        """Queue *fault* behind those of *where*; one without end gives way to it."""
        _check_place(where)
        if times is not None and times < 1:
            msg = f"times is a positive number or None, not {times}"
            raise ValueError(msg)
        with self._lock:
            turns = self._turns.setdefault(where, collections.deque())
            if turns and turns[-1].times is None:
                turns.pop()
            turns.append(_Turn(fault, times))

    def heal(self, where: str | None) -> None:
        """Drop the faults of *where* (None: all) and end the hangs there."""
        if where is not None:
            _check_place(where)
        with self._lock:
            healed = set(self._healings) if where is None else {where}
            signals = [self._healings.pop(place, None) for place in healed]
            if where is None:
                self._turns.clear()
            else:
                self._turns.pop(where, None)
        for signal in signals:
            if signal is not None:
                signal.set()

    def claim(self, group: str, path: str) -> tuple[Fault, Signal] | None:
        """Take the next fault for a request, if there is one, with the signal of its healing."""
        if not self._turns:
            return None
        with self._lock:
            for place in (path, group):
                turns = self._turns.get(place)
                if turns:
                    healing = self._healings.setdefault(place, Signal())
                    return self._next(place, turns), healing
        return None

    def hold(self, where: str) -> Gate:
        """Set up a gate at *where*."""
        _check_place(where)
        gate = Gate(where)
        with self._lock:
            self._gates = (
                *(other for other in self._gates if not other.released),
                gate,
            )
        return gate

    def gates(self, group: str, path: str) -> tuple[Gate, ...]:
        """Return the gates that a request has to pass."""
        return tuple(
            gate for gate in self._gates if gate.where in {group, path} and not gate.released
        )

    def _next(self, place: str, turns: collections.deque[_Turn]) -> Fault:
        turn = turns[0]
        if turn.times is not None:
            turn.times -= 1
            if turn.times == 0:
                turns.popleft()
        if not turns:
            del self._turns[place]
        return turn.fault


def _check_place(where: str) -> None:
    if where in _GROUPS or where.startswith("/"):
        return
    msg = f'where is "connect", "refresh", "resource" or a path, not {where!r}'
    raise ValueError(msg)
