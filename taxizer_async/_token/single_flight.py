"""
Who is renewing right now, in this process: one seat per event loop, one runway for all loops.

An anyio lock per event loop picks the leader among its tasks; the others wait for the leader's event
and share what came of it. A thread lock, only ever tried and never waited for, picks one loop. All of
it belongs to one process: a forked child makes its own, as its parent's locks may be held for ever.
"""

from __future__ import annotations

import os
import threading
import time

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, final
from weakref import WeakKeyDictionary, ref

import anyio

from taxizer_async._token.guarded_store import on_behalf_of


if TYPE_CHECKING:
    from collections.abc import Generator

    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.failures import Failure


#: By the ends of which flights the running code was started: what a leader starts has its context.
_part_of: Final[ContextVar[tuple[anyio.Event, ...]]] = ContextVar("part_of", default=())


@final
class Flight:
    """One leader's attempt to get a token, and what came of it; neither, if it was cancelled."""

    __slots__ = ("_boarded", "_landed", "_leader", "_since", "began", "failure", "held", "waits")

    def __init__(self) -> None:
        self._landed = anyio.Event()
        self._leader = anyio.get_current_task().id
        _part_of.set((*(end for end in _part_of.get() if not end.is_set()), self._landed))
        #: When it began (`time.monotonic`).
        self.began = time.monotonic()
        self._boarded = 0
        # Of those who wait, by their number.
        self._since: dict[int, float] = {}
        #: Seconds that tasks waited for it.
        self.waits: list[float] = []
        self.held: CachedToken | None = None
        self.failure: Failure | None = None

    # A cold crowd pays for each step of this as often as it has members.
    async def wait(self) -> None:
        """
        Wait until it is over.

        Raises:
            RuntimeError: If the leader itself waits, or what it has a store do: that would be for ever.
        """
        if self._landed in _part_of.get():
            self._refuse_its_own()
        number = self._boarded = self._boarded + 1
        self._since[number] = time.monotonic()
        try:
            await self._landed.wait()
        except BaseException:
            since = self._since.pop(number, None)
            if since is not None:  # it is still in the air
                self.waits.append(time.monotonic() - since)
            raise

    def land(self) -> None:
        """Wake all that wait."""
        now = time.monotonic()
        self.waits.extend(now - since for since in self._since.values())
        self._since.clear()
        self._landed.set()

    def _refuse_its_own(self) -> None:
        # Other tasks that the leader started may wait, as it does not wait for them.
        if self._leader not in (anyio.get_current_task().id, on_behalf_of.get()):
            return
        msg = (
            "a token was asked for from within the login that it would have to wait for: a "
            "credentials callable, http_client or store must not use the auth that it serves"
        )
        raise RuntimeError(msg)


@final
class Seat:
    """The flight of one event loop, if one is under way."""

    __slots__ = ("_changed", "_flight", "_lock")

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._changed: anyio.Event | None = None
        self._flight: Flight | None = None

    @property
    def flight(self) -> Flight:
        """The flight under way: there is one whenever `try_lead` has just said no."""
        assert self._flight is not None  # noqa: S101 - both change in one step
        return self._flight

    def try_lead(self) -> Flight | None:
        """Make the calling task the leader of a new flight; None if there is one already."""
        if self._flight is not None:
            return None
        self._lock.acquire_nowait()
        self._flight = Flight()
        return self._flight

    def land(self, flight: Flight) -> None:
        """End the *flight* that the calling task leads, and wake all that wait for it."""
        self._flight = None
        self._lock.release()
        flight.land()
        self.announce_change()

    @property
    def changed(self) -> anyio.Event:
        """What is set once a task of this loop changes what is held: take it, look, then wait."""
        if self._changed is None:
            self._changed = anyio.Event()
        return self._changed

    def announce_change(self) -> None:
        """Wake those that wait for `changed`."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None


@final
class Airfield:
    """All that the loops of one process share for one provider."""

    __slots__ = ("_current_token", "_latest", "_mutex", "_runway", "_seats", "keepers", "pid")

    def __init__(self) -> None:
        # Not at the top: it is a good part of what `import taxizer_async` would cost.
        from anyio.lowlevel import current_token  # noqa: PLC0415

        self._current_token = current_token
        self.pid = os.getpid()
        #: How many tasks run `keep_fresh`.
        self.keepers = 0
        # CachedToken for a few statements, never across an await.
        self._mutex = threading.Lock()
        self._runway = threading.Lock()
        self._seats: WeakKeyDictionary[object, Seat] = WeakKeyDictionary()
        # There is one loop as a rule.
        self._latest: tuple[ref[object], Seat] | None = None

    def seat(self) -> Seat:
        """Return the seat of the running event loop."""
        loop = self._current_token().native_token
        latest = self._latest
        if latest is not None and latest[0]() is loop:
            return latest[1]
        with self._mutex:
            seat = self._seats.get(loop)
            if seat is None:
                seat = self._seats[loop] = Seat()
            self._latest = ref(loop), seat
            return seat

    def add_keeper(self, change: int) -> None:
        """Count one more or one less."""
        with self._mutex:
            self.keepers += change

    @contextmanager
    def try_runway(self) -> Generator[bool]:
        """Yield whether this flight is now the only one of the process that may ask the server."""
        mine = self._runway.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._runway.release()
