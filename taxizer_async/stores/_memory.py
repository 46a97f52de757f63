"""The store in the memory of one process, shared by its threads and event loops."""

from __future__ import annotations

import threading

from typing import Final, final

import attrs

from taxizer_async._core.clock import Clock, SystemClock
from taxizer_async._core.process import PerProcess
from taxizer_async.stores._protocol import (
    FailureRecord,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    with_remaining,
)


@final
class MemoryTokenStore:
    """
    Shares a token among all auth objects of one process that are given the same instance.

    A forked child starts with an empty store: the refresh tokens belong to its parent.

    Args:
        clock: For tests; the machine's own by default.
    """

    __slots__ = ("_clock", "_state")

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Final = clock or SystemClock()
        self._state: Final = PerProcess(_ProcessState)

    async def check(self) -> None:
        """Do nothing: memory can always be used."""

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """Return the record of *key*, if there is one."""
        entry = self._state.get().records.get(key)
        if entry is None:
            return None
        saved_at, record = entry
        return attrs.evolve(record, age=record.age + self._clock.monotonic() - saved_at)

    async def look(self, key: StoreKey, /) -> StoreView:
        """Return the record and the failure of *key*, if there are any, and whether the lease is held."""
        state = self._state.get()
        failure = None
        entry = state.failures.get(key)
        if entry is not None:
            saved_at, failure = entry
            remaining = failure.remaining - (self._clock.monotonic() - saved_at)
            failure = with_remaining(failure, remaining)
        return StoreView(record=await self.load(key), failure=failure, leased=key in state.leases)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """Replace the record of *key*; False if *lease* is not held."""
        state = self._state.get()
        with state.mutex:
            if state.leases.get(key) is not lease:
                return False
            state.records[key] = (self._clock.monotonic(), record)
            state.failures.pop(key, None)
        return True

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        """Keep *failure* while it is remembered; False if *lease* is not held."""
        state = self._state.get()
        with state.mutex:
            if state.leases.get(key) is not lease:
                return False
            state.failures[key] = (self._clock.monotonic(), failure)
        return True

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*, and its failure."""
        state = self._state.get()
        state.records.pop(key, None)
        state.failures.pop(key, None)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free."""
        state = self._state.get()
        lease = _MemoryLease(key, self._state)
        with state.mutex:
            return lease if state.leases.setdefault(key, lease) is lease else None

    def __reduce__(self) -> tuple[type[MemoryTokenStore], tuple[()]]:
        """Pickle as an empty store: another process does not share this memory."""
        return MemoryTokenStore, ()


@final
class _ProcessState:
    """The records, failures and leases of one process."""

    __slots__ = ("failures", "leases", "mutex", "records")

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.records: dict[StoreKey, tuple[float, TokenRecord]] = {}
        self.failures: dict[StoreKey, tuple[float, FailureRecord]] = {}
        self.leases: dict[StoreKey, _MemoryLease] = {}


@final
@attrs.define(eq=False)
class _MemoryLease:
    """A lease of the process that took it; a forked child finds it lost."""

    _key: StoreKey
    _state: PerProcess[_ProcessState]

    @property
    def heartbeat(self) -> float | None:
        return None

    async def extend(self) -> bool:
        return self._state.get().leases.get(self._key) is self

    async def release(self) -> None:
        state = self._state.get()
        with state.mutex:
            if state.leases.get(self._key) is self:
                del state.leases[self._key]
