"""
What happens at a sandbox, as those who watch it are told: numbered events, the latest of which are kept.

No event holds a secret, a token or a client's id. Readers keep a number each and no queue, so that one that is
slow or gone costs no memory: it misses what was dropped meanwhile, and is told how much that was.
"""

from __future__ import annotations

import collections
import re
import secrets
import threading
import time

from collections.abc import Mapping
from typing import Final, final

import attrs

from taxizer_async.testing._sandbox.gate import Signal


_NUMBER: Final = re.compile("[0-9]{1,15}")

#: The most events that are kept.
EVENTS: Final = 1_000


@final
@attrs.frozen
class Event:
    """What happened, as fields of JSON."""

    number: int
    kind: str
    fields: Mapping[str, object]


@final
@attrs.frozen
class Batch:
    """The events after a number, how many of them are *missed*, and the signal of *news* after them."""

    events: tuple[Event, ...]
    missed: int
    news: Signal


@final
class EventLog:
    """Keeps the latest events; any thread adds and reads them."""

    def __init__(self) -> None:
        self.run: Final[str] = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._events: collections.deque[Event] = collections.deque(maxlen=EVENTS)
        self._last = 0
        self._news = Signal()

    def add(self, kind: str, **fields: object) -> None:
        with self._lock:
            self._last += 1
            stamped = {"at": round(time.time(), 3), **fields}
            self._events.append(Event(self._last, kind, stamped))
            news, self._news = self._news, Signal()
        news.set()

    def after(self, number: int) -> Batch:
        with self._lock:
            kept = self._last - len(self._events)
            new = min(self._last - number, len(self._events))
            events = tuple(self._events)[len(self._events) - new :] if new > 0 else ()
            return Batch(events, max(kept - number, 0), self._news)

    @property
    def oldest(self) -> int:
        """The number before the oldest event that is kept."""
        with self._lock:
            return self._last - len(self._events)

    @property
    def last_id(self) -> str | None:
        return self.id_of(self._last) if self._last else None

    def id_of(self, number: int) -> str:
        """Return the id of the event with *number*, which no event of another run has."""
        return f"{self.run}-{number}"

    def number_of(self, event_id: str) -> int | None:
        """Return the number in *event_id*; None if it is no id of an event of this run."""
        run, _, number = event_id.partition("-")
        if run != self.run or not _NUMBER.fullmatch(number):
            return None
        return min(int(number), self._last)
