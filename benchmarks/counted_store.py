"""A token store that counts the calls to another one, and may keep them waiting as a busy server does."""

from __future__ import annotations

from typing import TYPE_CHECKING, final


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async.stores import (
        FailureRecord,
        FailureStore,
        Lease,
        StoreKey,
        StoreView,
        TokenRecord,
    )


@final
class CountedStore:
    """
    Wraps *inner*.

    Args:
        inner: What keeps the record.
        serve: Awaited before each call.
        heartbeat: The heartbeat of its leases, in place of *inner*'s.
    """

    def __init__(
        self,
        inner: FailureStore,
        *,
        serve: Callable[[], Awaitable[None]] | None = None,
        heartbeat: float | None = None,
    ) -> None:
        self._inner = inner
        self._serve = serve
        self._heartbeat = heartbeat
        #: How many calls there were.
        self.calls = 0

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """See `TokenStore`."""
        await self.count()
        return await self._inner.load(key)

    async def look(self, key: StoreKey, /) -> StoreView:
        """See `FailureStore`."""
        await self.count()
        return await self._inner.look(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """See `TokenStore`."""
        await self.count()
        return await self._inner.save(key, record, _inner(lease))

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        """See `FailureStore`."""
        await self.count()
        return await self._inner.save_failure(key, failure, _inner(lease))

    async def clear(self, key: StoreKey, /) -> None:
        """See `TokenStore`."""
        await self.count()
        await self._inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """See `TokenStore`."""
        await self.count()
        lease = await self._inner.lease(key)
        return None if lease is None else _CountedLease(lease, self, self._heartbeat)

    async def count(self) -> None:
        """Count one call."""
        self.calls += 1
        if self._serve is not None:
            await self._serve()


@final
class _CountedLease:
    def __init__(self, inner: Lease, store: CountedStore, heartbeat: float | None) -> None:
        self.inner = inner
        self._store = store
        self.heartbeat = heartbeat or inner.heartbeat

    async def extend(self) -> bool:
        await self._store.count()
        return await self.inner.extend()

    async def release(self) -> None:
        await self._store.count()
        await self.inner.release()


def _inner(lease: Lease) -> Lease:
    return lease.inner if isinstance(lease, _CountedLease) else lease
