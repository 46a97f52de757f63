"""What a provider does with an answer that comes late: after `forget`, or from a loop that stood still."""

from __future__ import annotations

import asyncio
import threading

from typing import Any, final

import anyio
import pytest

from taxizer_async import Credentials, Secret
from taxizer_async._core.event_loops import running_loop
from taxizer_async._core.exchange import Issued, RetryBudget
from taxizer_async._token import single_flight
from taxizer_async._token.provider import TokenProvider
from taxizer_async.stores import MemoryTokenStore, StoreKey, TokenRecord, TokenStore
from taxizer_async.testing import ManualClock
from tests.support.limits import HANG
from tests.support.loops import run_together, until
from tests.support.scripted_store import ScriptedStore
from tests.support.tokens import (
    BASE_URL,
    issue,
    make_cached,
    make_issued,
    make_provider,
    make_record,
    make_token,
)


KEY = StoreKey(BASE_URL, "app")


@final
class FirstIsSlow:
    """An exchange that issues tokens 1, 2 and so on, the first one only when it may *go*."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.asked = 0
        #: Whether the loop of the first one stands still until then.
        self.blocks = False
        self.go = threading.Event()

    async def connect(self, _: Credentials, _budget: RetryBudget, /) -> Issued:
        self.asked += 1
        issued = make_issued(
            token=make_token(str(self.asked)), requested_at=self._clock.monotonic()
        )
        if self.asked == 1 and self.blocks:
            assert self.go.wait(HANG)
        elif self.asked == 1:
            await until(self.go.is_set)
        return issued

    async def refresh(self, _: Secret, _budget: RetryBudget, /) -> Issued:
        raise NotImplementedError


class SlowToLoad(ScriptedStore):
    """A store that returns from its loads only when it may *go*."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.found = anyio.Event()
        self.go = anyio.Event()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        record = await super().load(key)
        self.found.set()
        await self.go.wait()
        return record


@pytest.fixture(name="exchange")
def _exchange(clock: ManualClock) -> FirstIsSlow:
    return FirstIsSlow(clock)


async def get(provider: TokenProvider) -> str:
    with anyio.fail_after(HANG):
        return (await provider.acquire()).token.jwt.reveal()


async def stored(store: TokenStore) -> str | None:
    record = await store.load(KEY)
    return None if record is None else record.token.jwt.reveal()


async def test_a_forgotten_record_is_not_adopted(exchange: FirstIsSlow, clock: ManualClock) -> None:
    """A record that was being read while the token was forgotten does not bring it back."""
    exchange.go.set()
    store = SlowToLoad(clock)
    lease = await store.lease(KEY)
    assert lease is not None
    await store.save(KEY, make_record("old"), lease)
    await lease.release()
    provider = make_provider(exchange, store, clock)
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.acquire)
            await store.found.wait()
            await provider.forget()
            store.go.set()
    cached = provider.cache.fresh()

    assert cached is None or cached.token == make_token("1")
    assert await stored(store) in (None, "jwt-1")


async def test_a_token_that_came_before_the_refresh_began_is_not_renewed(
    exchange: FirstIsSlow, clock: ManualClock
) -> None:
    """A token that a late refresh brought just before its successor began ends that one."""
    provider = make_provider(exchange, MemoryTokenStore(), clock)
    coordinator = provider.own_coordinator.get()
    refresh = coordinator.join_or_start(running_loop(), make_cached("old"))
    cached = issue(provider.cache, make_cached("new"))
    with anyio.fail_after(HANG):
        await refresh.wait(running_loop())

    assert refresh.result is cached
    assert exchange.asked == 0


def test_a_loop_that_stopped_is_not_waited_for(
    exchange: FirstIsSlow, clock: ManualClock, anyio_backend: Any
) -> None:
    """The next caller gets the lease back and logs in; the late answer to the first one is dropped."""
    name, options = anyio_backend
    store = MemoryTokenStore(clock=clock)
    provider = make_provider(exchange, store, clock)
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Task[str]:
        caller = asyncio.ensure_future(get(provider))
        await until(lambda: exchange.asked)
        return caller

    async def go_on(caller: asyncio.Task[str]) -> str:
        exchange.go.set()
        found = await caller
        await until(lambda: len(asyncio.all_tasks()) == 1)
        return found

    caller = loop.run_until_complete(start())
    clock.advance(1.0)
    assert anyio.run(get, provider, backend=name, backend_options=options) == "jwt-2"
    assert loop.run_until_complete(go_on(caller)) == "jwt-2"
    assert loop.run_until_complete(stored(store)) == "jwt-2"
    loop.close()

    cached = provider.cache.fresh()
    assert cached is not None
    assert cached.token == make_token("2")
    assert exchange.asked == 2


@pytest.mark.invariant(6)
@pytest.mark.report(108)
def test_a_loop_that_blocks_is_left_behind(
    exchange: FirstIsSlow, clock: ManualClock, anyio_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller in another loop gets the lease back and logs in; the blocked callers get that token."""
    monkeypatch.setattr(single_flight, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(single_flight, "BLOCKED_AFTER", 0.4)
    exchange.blocks = True
    store = MemoryTokenStore(clock=clock)
    provider = make_provider(exchange, store, clock)
    found: list[str] = []

    async def block() -> None:
        found.append(await get(provider))
        coordinator = provider._coordinator()
        await until(lambda: not coordinator.lock().locked())
        assert await stored(store) == "jwt-2"

    async def wait() -> None:
        await until(lambda: exchange.asked)
        clock.advance(1.0)
        found.append(await get(provider))
        exchange.go.set()

    run_together((anyio_backend, block), (anyio_backend, wait))

    assert found == ["jwt-2", "jwt-2"]
    assert exchange.asked == 2
