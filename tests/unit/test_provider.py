"""What a provider does with a refresh that hangs or has a bug, and with an answer that comes late."""

from __future__ import annotations

import asyncio
import logging
import threading

from collections.abc import Callable
from typing import Any, final

import anyio
import attrs
import pytest

from taxizer_async import (
    ConfigurationError,
    Credentials,
    RenewalPolicy,
    Secret,
    TokenEndpointUnavailableError,
)
from taxizer_async._core.event_loops import running_loop
from taxizer_async._core.exchange import Issued, RetryBudget, Unavailable
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
        #: What each one raises, if anything.
        self.error: Exception | None = None

    async def connect(self, _: Credentials, _budget: RetryBudget, /) -> Issued:
        self.asked += 1
        if self.error is not None:
            raise self.error
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


async def test_a_refresh_after_one_that_failed_asks_nobody(
    exchange: FirstIsSlow, clock: ManualClock
) -> None:
    """A refresh that waited for the one before it has its failure, too."""
    provider = make_provider(exchange, MemoryTokenStore(), clock)
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks, provider.own_coordinator.get().lock():
            tasks.start_soon(_fail, provider, "it failed")
            await anyio.wait_all_tasks_blocked()
            provider.cache.record_failure(
                Unavailable(reason="it failed"), endpoint="/c", rejected=None, recheck=False
            )

    assert exchange.asked == 0


async def _fail(provider: TokenProvider, match: str) -> Exception:
    with pytest.raises(TokenEndpointUnavailableError, match=match) as caught:
        await get(provider)
    return caught.value


async def test_a_bug_of_ours_fails_callers_and_is_logged(
    exchange: FirstIsSlow,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    canary: str,
    leaks: Callable[[BaseException], list[str]],
) -> None:
    """An error that nobody expected is told by its class: its text may hold what was sent."""
    exchange.error = ZeroDivisionError(canary)
    problem = "the refresh failed with ZeroDivisionError, a bug in taxizer_async"
    error = await _fail(make_provider(exchange, MemoryTokenStore(), clock), problem)

    assert leaks(error) == []
    assert canary not in caplog.text
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].message.startswith(problem)


@attrs.define
class FailingClock:
    """A clock that fails from its *last*-th reading on."""

    last: int
    reads: int = 0

    def monotonic(self) -> float:
        self.reads += 1
        if self.reads >= self.last:
            raise ZeroDivisionError
        return 0.0

    def wall(self) -> float:
        return 0.0

    async def sleep(self, _: float, /) -> None:
        pytest.fail("there is nothing to wait for")


@pytest.mark.parametrize("last", [1, 2, 3, 5, 8])
async def test_a_clock_that_fails_is_no_hang(exchange: FirstIsSlow, last: int) -> None:
    """Its error is raised by the caller that reads it, and told by the refresh that does."""
    exchange.go.set()
    provider = make_provider(exchange, MemoryTokenStore(), FailingClock(last))

    async def ask() -> None:
        for _ in range(last):
            await get(provider)

    with anyio.fail_after(HANG), pytest.raises((ZeroDivisionError, ConfigurationError)) as caught:
        await ask()
    if isinstance(caught.value, ConfigurationError):
        assert str(caught.value) == "the clock failed with ZeroDivisionError"


async def test_keep_fresh_pauses_while_the_clock_fails(
    exchange: FirstIsSlow, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be remembered does not make it try again at once, for ever."""

    @attrs.define
    class Wrong(FailingClock):
        def wall(self) -> float:
            raise ZeroDivisionError

    exchange.error = OSError()
    provider = make_provider(exchange, MemoryTokenStore(), Wrong(last=1_000_000))
    with anyio.move_on_after(0.3):
        await provider.keep_fresh()

    assert len(caplog.records) == 1


async def test_a_login_that_hangs_is_not_waited_for(
    exchange: FirstIsSlow, clock: ManualClock
) -> None:
    """Callers of a login that does not end fail in time; an answer that comes all the same is used."""
    policy = RenewalPolicy(exchange_timeout=0.05, store_timeout=0.03)
    provider = make_provider(exchange, MemoryTokenStore(), clock, policy=policy)
    await _fail(provider, "the login did not end within 0.08 s")
    exchange.go.set()
    with anyio.fail_after(HANG):
        await until(provider.cache.fresh)

    assert await get(provider) == "jwt-1"


async def test_a_refresh_that_hangs_fails_the_next_one(
    exchange: FirstIsSlow, clock: ManualClock
) -> None:
    """A refresh waits no longer for the one before it than a login may take."""
    policy = RenewalPolicy(exchange_timeout=0.05, store_timeout=HANG)
    provider = make_provider(exchange, MemoryTokenStore(), clock, policy=policy)
    async with provider.own_coordinator.get().lock():
        await _fail(provider, "the refresh before this one does not end")

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
