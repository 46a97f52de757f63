"""
A token store that can't fail: whatever it raises or however long it takes, requests go on.

A failure is reported when it begins and when it ends, not once per call.
"""

from __future__ import annotations

import enum

from typing import TYPE_CHECKING, Generic, TypeVar, final

import anyio
import attrs

from taxizer_async._events import StoreFailed, StoreRecovered


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async._reporter import Reporter
    from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore


T = TypeVar("T")


class NoLease(enum.Enum):
    """Why there is no lease."""

    BUSY = enum.auto()
    DOWN = enum.auto()


class SaveResult(enum.Enum):
    """What became of a save."""

    SAVED = enum.auto()
    LEASE_LOST = enum.auto()
    DOWN = enum.auto()


@attrs.frozen
class _Returned(Generic[T]):
    """What a call to the store returned, told apart from its failure."""

    value: T


@final
class GuardedStore:
    """Wraps *store*; each call to it may take *timeout* seconds."""

    __slots__ = ("_reporter", "_store", "_timeout", "failing")

    def __init__(self, store: TokenStore, *, timeout: float, reporter: Reporter) -> None:
        self._store = store
        self._timeout = timeout
        self._reporter = reporter
        #: The last failure's description; None if the last call succeeded.
        self.failing: str | None = None

    async def load(self, key: StoreKey) -> TokenRecord | None:
        """Return the record, or None if there is none or it can't be had."""
        returned = await self._call("load", lambda: self._store.load(key))
        return returned.value if returned else None

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease) -> SaveResult:
        """Save what has been paid for already: a cancellation waits until it is done."""
        returned: _Returned[bool] | None = None
        with anyio.CancelScope(shield=True):
            returned = await self._call("save", lambda: self._store.save(key, record, lease))
        if not returned:
            return SaveResult.DOWN
        return SaveResult.SAVED if returned.value else SaveResult.LEASE_LOST

    async def clear(self, key: StoreKey) -> bool:
        """Say whether the record is gone."""
        return await self._call("clear", lambda: self._store.clear(key)) is not None

    async def lease(self, key: StoreKey) -> Lease | NoLease:
        """Take the lease if it is free."""
        returned = await self._call("lease", lambda: self._store.lease(key))
        if not returned:
            return NoLease.DOWN
        return NoLease.BUSY if returned.value is None else returned.value

    async def release(self, lease: Lease) -> None:
        """Give *lease* back, even while being cancelled."""
        with anyio.CancelScope(shield=True):
            await self._call("release", lease.release)

    async def keep(self, lease: Lease) -> None:
        """Extend *lease* for as long as this runs; returns when it is lost."""
        while lease.heartbeat is not None:
            await anyio.sleep(lease.heartbeat)
            extended = await self._call("extend", lease.extend)
            if extended and not extended.value:
                return

    async def _call(self, operation: str, call: Callable[[], Awaitable[T]]) -> _Returned[T] | None:
        problem = f"no answer within {self._timeout:g} s"
        with anyio.move_on_after(self._timeout):
            try:
                value = await call()
            except Exception as cause:  # noqa: BLE001 - whatever a store raises
                # Its text may quote what was to be saved.
                problem = type(cause).__name__
            else:
                self._note(None)
                return _Returned(value)
        self._note(StoreFailed(operation=operation, reason=problem))
        return None

    def _note(self, failure: StoreFailed | None) -> None:
        was_failing, self.failing = self.failing, failure.reason if failure else None
        if failure and was_failing is None:
            self._reporter.add(failure)
        if failure is None and was_failing is not None:
            self._reporter.add(StoreRecovered())
