"""The store that lives in one process's memory, and is shared by its threads and event loops."""

from __future__ import annotations

import os
import threading

from typing import TYPE_CHECKING, Final, final

import attrs

from taxizer_async._core.clock import SystemClock


if TYPE_CHECKING:
    from taxizer_async._core.clock import Clock
    from taxizer_async.stores._protocol import Lease, StoreKey, TokenRecord


@final
class MemoryTokenStore:
    """
    Shares a token among all auth objects of one process that are given the same instance.

    A forked child starts with an empty one: the refresh tokens are its parent's.

    Args:
        clock: For tests; the machine's own by default.
    """

    __slots__ = ("_clock", "_shelf")

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Final = clock or SystemClock()
        self._shelf = _Shelf()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """Return the record of *key*, if there is one."""
        entry = self._own_shelf().records.get(key)
        if entry is None:
            return None
        saved_at, record = entry
        return attrs.evolve(record, age=record.age + self._clock.monotonic() - saved_at)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """Replace the record of *key*; False if *lease* is not held."""
        shelf = self._own_shelf()
        with shelf.mutex:
            if shelf.leases.get(key) is not lease:
                return False
            shelf.records[key] = (self._clock.monotonic(), record)
        return True

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*."""
        self._own_shelf().records.pop(key, None)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free."""
        shelf = self._own_shelf()
        lease = _MemoryLease(key, shelf)
        with shelf.mutex:
            return lease if shelf.leases.setdefault(key, lease) is lease else None

    def __reduce__(self) -> tuple[type[MemoryTokenStore], tuple[()]]:
        """Pickle as an empty store: memory is not shared with who unpickles it."""
        return MemoryTokenStore, ()

    def _own_shelf(self) -> _Shelf:
        # After a fork the mutex may be held for ever, by a thread that is not here.
        if self._shelf.pid != os.getpid():
            self._shelf = _Shelf()
        return self._shelf


@final
class _Shelf:
    """All that one process has put in."""

    __slots__ = ("leases", "mutex", "pid", "records")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.mutex = threading.Lock()
        self.records: dict[StoreKey, tuple[float, TokenRecord]] = {}
        self.leases: dict[StoreKey, _MemoryLease] = {}


@final
class _MemoryLease:
    __slots__ = ("_key", "_shelf")

    def __init__(self, key: StoreKey, shelf: _Shelf) -> None:
        self._key = key
        self._shelf = shelf

    @property
    def heartbeat(self) -> float | None:
        return None

    async def extend(self) -> bool:
        return self._shelf.leases.get(self._key) is self

    async def release(self) -> None:
        if self._shelf.pid != os.getpid():
            return  # the parent's, as its mutex is
        with self._shelf.mutex:
            if self._shelf.leases.get(self._key) is self:
                del self._shelf.leases[self._key]
