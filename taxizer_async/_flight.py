"""
Who is renewing right now, in this process: one seat per event loop, one runway for all loops.

An anyio lock per event loop picks the leader among its tasks; the others wait for the leader's event
and share what came of it. A thread lock, only ever tried and never waited for, picks one loop. All of
it belongs to one process: a forked child makes its own, as its parent's locks may be held for ever.
"""

from __future__ import annotations

import os
import threading

from contextlib import contextmanager
from typing import TYPE_CHECKING, final
from weakref import WeakKeyDictionary

import anyio

from taxizer_async._guarded_store import on_behalf_of


if TYPE_CHECKING:
    from collections.abc import Generator

    from taxizer_async._failures import Failure
    from taxizer_async._held import Held


@final
class Flight:
    """One leader's attempt to get a token, and what came of it; neither, if it was cancelled."""

    __slots__ = ("_landed", "_leader", "_since", "began", "failure", "held", "waits")

    def __init__(self) -> None:
        self._landed = anyio.Event()
        self._leader = anyio.get_current_task().id
        #: When it began, in event loop time.
        self.began = anyio.current_time()
        # By task.
        self._since: dict[int, float] = {}
        #: Seconds that tasks waited for it.
        self.waits: list[float] = []
        self.held: Held | None = None
        self.failure: Failure | None = None

    async def wait(self) -> None:
        """
        Wait until it is over.

        Raises:
            RuntimeError: If the leader itself waits, or what it has a store do: that would be for ever.
        """
        task = anyio.get_current_task().id
        if self._leader in (task, on_behalf_of.get()):
            msg = (
                "a token was asked for from within the login that it would have to wait for: a "
                "credentials callable, http_client or store must not use the auth that it serves"
            )
            raise RuntimeError(msg)
        self._since[task] = anyio.current_time()
        try:
            await self._landed.wait()
        finally:
            since = self._since.pop(task, None)
            if since is not None:  # it is still in the air
                self.waits.append(anyio.current_time() - since)

    def land(self) -> None:
        """Wake all that wait."""
        now = anyio.current_time()
        self.waits.extend(now - since for since in self._since.values())
        self._since.clear()
        self._landed.set()


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

    __slots__ = ("_mutex", "_runway", "_seats", "keepers", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        #: How many tasks run `keep_fresh`.
        self.keepers = 0
        # Held for a few statements, never across an await.
        self._mutex = threading.Lock()
        self._runway = threading.Lock()
        self._seats: WeakKeyDictionary[object, Seat] = WeakKeyDictionary()

    def seat(self) -> Seat:
        """Return the seat of the running event loop."""
        # Not at the top: it is a good part of what `import taxizer_async` would cost.
        from anyio.lowlevel import current_token  # noqa: PLC0415

        loop = current_token().native_token
        with self._mutex:
            seat = self._seats.get(loop)
            if seat is None:
                seat = self._seats[loop] = Seat()
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
