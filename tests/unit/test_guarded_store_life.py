from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from taxizer_async._core.event_log import EventLog
from taxizer_async._token.guarded_store import GuardedStore, SaveResult
from taxizer_async.stores import StoreKey, TokenRecord
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.stores import Lease


KEY = StoreKey("https://apistaging.taxizer.com", "app")


class Slow:
    """A store, and a lease of it, that takes a moment, or for ever if it *hangs*."""

    heartbeat: float | None = 0.001

    def __init__(self) -> None:
        self.hangs = False
        self.released = 0
        self.extensions: list[bool | Exception] = []
        self.beats = 0
        self.beaten = anyio.Event()

    async def _pass_time(self) -> None:
        if self.hangs:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()

    async def load(self, _: StoreKey, /) -> TokenRecord | None:
        await self._pass_time()
        return None

    async def save(self, _: StoreKey, _record: TokenRecord, _lease: Lease, /) -> bool:
        await self._pass_time()
        return True

    async def clear(self, _: StoreKey, /) -> None:
        await self._pass_time()

    async def lease(self, _: StoreKey, /) -> Lease | None:
        await self._pass_time()
        return self

    async def extend(self) -> bool:
        await self._pass_time()
        self.beats += 1
        if self.beats == 3:
            self.beaten.set()
        answer = self.extensions.pop(0) if self.extensions else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def release(self) -> None:
        await self._pass_time()
        self.released += 1


@pytest.fixture(name="slow")
def _slow() -> Slow:
    return Slow()


@pytest.fixture(name="store")
def _store(slow: Slow) -> GuardedStore:
    return GuardedStore(slow, timeout=HANG, event_log=EventLog(None, timeout=HANG))


async def test_a_cancelled_save_ends(
    store: GuardedStore, slow: Slow, record: Callable[..., TokenRecord]
) -> None:
    """A refresh that is cancelled while it saves ends at once, and nothing failed."""
    slow.hangs = True
    with anyio.fail_after(HANG), anyio.CancelScope() as scope:
        scope.cancel()
        await store.save(KEY, record(), slow)

    assert scope.cancelled_caught
    assert store.failing is None


async def test_a_hanging_save_is_bounded(slow: Slow, record: Callable[..., TokenRecord]) -> None:
    """A store that hangs holds up no caller for longer than the timeout."""
    slow.hangs = True
    store = GuardedStore(slow, timeout=0.05, event_log=EventLog(None, timeout=HANG))
    with anyio.fail_after(HANG):
        assert await store.save(KEY, record(), slow) is SaveResult.DOWN


async def test_a_release_outlasts_a_cancellation(store: GuardedStore, slow: Slow) -> None:
    """A lease is released even while the refresh is being cancelled."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.release(slow)

    assert slow.released == 1


async def test_a_cancelled_load_ends(store: GuardedStore, slow: Slow) -> None:
    """A caller that is cancelled while the store is read ends at once, and nothing failed."""
    slow.hangs = True
    with anyio.fail_after(HANG), anyio.CancelScope() as scope:
        scope.cancel()
        await store.load(KEY)

    assert scope.cancelled_caught
    assert store.failing is None


async def test_keep_extends_until_lost(store: GuardedStore, slow: Slow) -> None:
    """A lease is extended again and again, through failures, until it is lost."""
    slow.extensions = [True, OSError(), True, False, True]
    with anyio.fail_after(HANG):
        await store.keep(slow, anyio.Event())

    assert slow.extensions == [True]


async def test_keep_without_a_heartbeat(store: GuardedStore, slow: Slow) -> None:
    """A lease without a heartbeat is not extended."""
    slow.heartbeat = None
    with anyio.fail_after(HANG):
        await store.keep(slow, anyio.Event())

    assert slow.beats == 0


async def test_keep_beats_until_it_is_told_to_end(store: GuardedStore, slow: Slow) -> None:
    """The lease is extended until the refresh that needs it is done."""
    done = anyio.Event()
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.keep, slow, done)
            await slow.beaten.wait()
            done.set()

    assert slow.beats >= 3
    assert store.failing is None
