"""A store that answers, and leases that live, as the test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs

from taxizer_async import MemoryTokenStore
from taxizer_async.stores import FailureRecord, Lease, StoreKey, StoreView, TokenRecord
from taxizer_async.testing import ManualClock


@attrs.define(eq=False)
class ScriptedLease:
    """A lease that lives as long as the test says."""

    store: ScriptedStore
    inner: Lease
    heartbeat: float | None = None
    beats: int = 0
    lasts: bool = True
    third_beat: anyio.Event = attrs.field(factory=anyio.Event)

    async def extend(self) -> bool:
        self.beats += 1
        if self.beats == 3:
            self.third_beat.set()
        return self.lasts

    async def release(self) -> None:
        if self.store.before_release is not None:
            await self.store.before_release()
        await self.inner.release()


class ScriptedStore:
    """A store in memory that the test can have busy, lost, slow or down."""

    def __init__(self, clock: ManualClock) -> None:
        self.inner = MemoryTokenStore(clock=clock)
        self.busy = False
        self.refuses_saves = False
        self.down: set[str] = set()
        self.heartbeat: float | None = None
        self.refused_leases = 0
        self.leases: list[ScriptedLease] = []
        self.before_lease: Callable[[], Awaitable[None]] | None = None
        self.before_save: Callable[[TokenRecord], Awaitable[None]] | None = None
        self.before_release: Callable[[], Awaitable[None]] | None = None
        self.before_clear: Callable[[], Awaitable[None]] | None = None
        self.saved: list[TokenRecord] = []
        self.calls: list[str] = []

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        self._fail_if_down("load")
        return await self.inner.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        self._fail_if_down("save")
        if self.before_save is not None:
            await self.before_save(record)
        assert isinstance(lease, ScriptedLease)
        self.saved.append(record)
        return not self.refuses_saves and await self.inner.save(key, record, lease.inner)

    async def clear(self, key: StoreKey, /) -> None:
        self._fail_if_down("clear")
        if self.before_clear is not None:
            await self.before_clear()
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self._fail_if_down("lease")
        if self.before_lease is not None:
            await self.before_lease()
        inner = None if self.busy else await self.inner.lease(key)
        if inner is None:
            self.refused_leases += 1
            return None
        self.leases.append(ScriptedLease(self, inner, self.heartbeat))
        return self.leases[-1]

    def _fail_if_down(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.down:
            raise OSError(operation)


class SharingStore(ScriptedStore):
    """One that shares failures, too."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.shared: list[FailureRecord] = []
        self.after_save_failure: Callable[[], Awaitable[None]] | None = None

    async def look(self, key: StoreKey, /) -> StoreView:
        self._fail_if_down("look")
        view = await self.inner.look(key)
        return attrs.evolve(view, leased=view.leased or self.busy)

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        self._fail_if_down("save_failure")
        assert isinstance(lease, ScriptedLease)
        self.shared.append(failure)
        saved = await self.inner.save_failure(key, failure, lease.inner)
        if self.after_save_failure is not None:
            await self.after_save_failure()
        return saved
