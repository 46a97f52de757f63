"""A refresh whose event loop does not turn any more is taken over by the next caller of another loop."""

from __future__ import annotations

import asyncio
import threading

from typing import TYPE_CHECKING, Any, final

import anyio
import pytest

from taxizer_async import Credentials, RenewalPolicy, Secret, Token
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.exchange import Issued
from taxizer_async._token import single_flight
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore, StoreKey
from tests.support.limits import HANG
from tests.support.loops import run_together, until


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from taxizer_async._core.exchange import RetryBudget
    from taxizer_async.testing._manual_clock import ManualClock

    Get = Callable[[], Coroutine[Any, Any, str]]


KEY = StoreKey("https://apistaging.taxizer.com", "app")


@final
class FirstIsSlow:
    """An exchange whose first answer takes until it is let go; tokens are called 1, 2 and so on."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.asked = 0
        #: Whether the loop of the first one is to stand still until it is let go.
        self.blocks = False
        self.go = threading.Event()

    async def connect(self, _: Credentials, _budget: RetryBudget, /) -> Issued:
        self.asked += 1
        number, requested_at = self.asked, self._clock.monotonic()
        if number == 1 and self.blocks:
            assert self.go.wait(HANG)
        elif number == 1:
            await until(self.go.is_set)
        return Issued(
            token=Token(jwt=Secret(f"jwt-{number}")),
            lifetime=3600.0,
            refresh_lifetime=None,
            requested_at=requested_at,
            elapsed=0.0,
        )

    async def refresh(self, _: Secret, _budget: RetryBudget, /) -> Issued:
        raise NotImplementedError


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> MemoryTokenStore:
    return MemoryTokenStore(clock=clock)


@pytest.fixture(name="exchange")
def _exchange(clock: ManualClock) -> FirstIsSlow:
    return FirstIsSlow(clock)


@pytest.fixture(name="provider")
def _provider(clock: ManualClock, store: MemoryTokenStore, exchange: FirstIsSlow) -> TokenProvider:
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


@pytest.fixture(name="get")
def _get(provider: TokenProvider) -> Get:
    async def get() -> str:
        with anyio.fail_after(HANG):
            return (await provider.acquire()).token.jwt.reveal()

    return get


async def _stored(store: MemoryTokenStore) -> str | None:
    record = await store.load(KEY)
    return None if record is None else record.token.jwt.reveal()


def test_a_loop_that_stopped_is_not_waited_for(
    provider: TokenProvider,
    exchange: FirstIsSlow,
    store: MemoryTokenStore,
    clock: ManualClock,
    get: Get,
    anyio_backend: Any,
) -> None:
    """The next caller has its lease back and logs in; what the first one gets later is of no use."""
    name, options = anyio_backend
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Task[str]:
        caller = asyncio.ensure_future(get())
        await until(lambda: exchange.asked)
        return caller

    async def go_on(caller: asyncio.Task[str]) -> str:
        exchange.go.set()
        found = await caller
        await until(lambda: len(asyncio.all_tasks()) == 1)
        return found

    caller = loop.run_until_complete(start())
    clock.advance(1.0)
    assert anyio.run(get, backend=name, backend_options=options) == "jwt-2"
    assert loop.run_until_complete(go_on(caller)) == "jwt-2"
    assert loop.run_until_complete(_stored(store)) == "jwt-2"
    loop.close()

    cached = provider.cache.fresh()
    assert cached is not None
    assert cached.token.jwt == Secret("jwt-2")
    assert exchange.asked == 2


def test_a_loop_that_blocks_is_left_behind(
    provider: TokenProvider,
    exchange: FirstIsSlow,
    store: MemoryTokenStore,
    clock: ManualClock,
    get: Get,
    anyio_backend: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for it elsewhere has its lease back and logs in, and its own callers get that token."""
    monkeypatch.setattr(single_flight, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(single_flight, "BLOCKED_AFTER", 0.4)
    exchange.blocks = True
    found: list[str] = []

    async def block() -> None:
        found.append(await get())
        coordinator = provider._coordinator()
        await until(lambda: not coordinator.lock().locked())
        assert await _stored(store) == "jwt-2"

    async def wait() -> None:
        await until(lambda: exchange.asked)
        clock.advance(1.0)
        found.append(await get())
        exchange.go.set()

    run_together((anyio_backend, block), (anyio_backend, wait))

    assert found == ["jwt-2", "jwt-2"]
    assert exchange.asked == 2
