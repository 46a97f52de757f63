from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from taxizer_async import Credentials, RenewalPolicy, Secret, Token
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.exchange import Issued
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore, StoreKey, TokenRecord
from tests.support.limits import HANG
from tests.support.loops import until


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._core.exchange import RetryBudget
    from taxizer_async.stores import Lease, TokenStore
    from taxizer_async.testing._manual_clock import ManualClock


KEY = StoreKey("https://apistaging.taxizer.com", "app")


class NewTokens:
    """An exchange that issues a token called new."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.asked = 0
        #: Logins wait for it.
        self.go = anyio.Event()
        self.go.set()

    async def connect(self, _: Credentials, _budget: RetryBudget, /) -> Issued:
        self.asked += 1
        await self.go.wait()
        return self._issue()

    async def refresh(self, _: Secret, _budget: RetryBudget, /) -> Issued:
        return self._issue()

    def _issue(self) -> Issued:
        return Issued(
            token=Token(jwt=Secret("new")),
            lifetime=3600.0,
            refresh_lifetime=None,
            requested_at=self._clock.monotonic(),
            elapsed=0.0,
        )


class SlowToLoad:
    """A store whose first load takes until it is let go, and then gives what it had found."""

    def __init__(self, inner: MemoryTokenStore) -> None:
        self._inner = inner
        self.found = anyio.Event()
        self.go = anyio.Event()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        record = await self._inner.load(key)
        self.found.set()
        await self.go.wait()
        return record

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await self._inner.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self._inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        return await self._inner.lease(key)


class WithoutLeases:
    """A store that is empty, and has no leases to give."""

    async def load(self, _: StoreKey, /) -> TokenRecord | None:
        return None

    async def save(self, _: StoreKey, _record: TokenRecord, _lease: Lease, /) -> bool:
        return True

    async def clear(self, _: StoreKey, /) -> None:
        pass

    async def lease(self, _: StoreKey, /) -> Lease | None:
        raise OSError


def _provider(exchange: NewTokens, store: TokenStore, clock: ManualClock) -> TokenProvider:
    return TokenProvider(
        endpoints=Endpoints(base_url=KEY.base_url, connect="/c", refresh="/r"),
        credentials=CredentialsSource(Credentials("app", "s3cret")),
        exchange=exchange,
        store=store,
        policy=RenewalPolicy(),
        clock=clock,
        random=lambda: 0.5,
        event_log=EventLog(None, timeout=HANG),
    )


async def test_what_was_forgotten_is_not_adopted(
    clock: ManualClock, record: Callable[..., TokenRecord]
) -> None:
    """A record that was being read while the token was forgotten does not bring it back."""
    memory = MemoryTokenStore(clock=clock)
    lease = await memory.lease(KEY)
    assert lease is not None
    await memory.save(KEY, record("old"), lease)
    await lease.release()
    store = SlowToLoad(memory)
    provider = _provider(NewTokens(clock), store, clock)
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.acquire)
            await store.found.wait()
            await provider.forget()
            store.go.set()
    cached, stored = provider.cache.fresh(), await memory.load(KEY)

    assert cached is None or cached.token.jwt == Secret("new")
    assert stored is None or stored.token.jwt == Secret("new")


async def test_a_login_waits_for_the_one_that_was_superseded(clock: ManualClock) -> None:
    """After `forget` there is another login, once the first one is over, even where no lease says so."""
    exchange = NewTokens(clock)
    exchange.go = anyio.Event()
    provider = _provider(exchange, WithoutLeases(), clock)
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.acquire)
            await until(lambda: exchange.asked)
            await provider.forget()
            tasks.start_soon(provider.acquire)
            lock = provider._coordinator().lock()
            await until(lambda: exchange.asked > 1 or lock.statistics().tasks_waiting)
            assert exchange.asked == 1
            exchange.go.set()

    assert exchange.asked == 2
    assert provider.status().logins == 1
