"""A Redis that refuses, is silent, or whose connections end in mid-command: each request gets a token."""

from __future__ import annotations

import itertools
import logging
import random

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import attrs
import httpx
import pytest

from taxizer_async import RenewalPolicy, TaxizerAuth
from taxizer_async.stores import redis as redis_store
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.fleet.fleet import STORE_TIMEOUT, Fleet, WorkerConfig
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import Direction, Proxy


pytestmark = pytest.mark.timeout(300)

#: 401s cause the renewals here, of which there are many.
_POLICY = RenewalPolicy(store_timeout=STORE_TIMEOUT, unauthorized_budget=10_000)


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="brief_leases")
def _brief_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten leases, so that those end soon whose grant was not received."""
    monkeypatch.setattr(redis_store, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(redis_store, "HEARTBEAT", 0.1)


@asynccontextmanager
async def _auth(
    sandbox: Sandbox, proxy: Proxy, policy: RenewalPolicy = _POLICY
) -> AsyncIterator[TaxizerAuth]:
    async with RedisTokenStore.from_url(proxy.url) as store:
        yield TaxizerAuth(
            sandbox.credentials, base_url=sandbox.base_url, store=store, policy=policy
        )


@asynccontextmanager
async def _client(sandbox: Sandbox, auth: TaxizerAuth) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        auth=auth, base_url=sandbox.base_url, trust_env=False, timeout=PATIENCE
    ) as client:
        yield client


async def _is_shared(sandbox: Sandbox, proxy: Proxy) -> bool:
    """Return whether another process gets its token from the store."""
    exchanges = sandbox.counters.exchanges
    async with _auth(sandbox, proxy) as other:
        await other.token()
    return sandbox.counters.exchanges == exchanges


async def _use_again(
    sandbox: Sandbox, proxy: Proxy, auth: TaxizerAuth, client: httpx.AsyncClient
) -> None:
    """Renew until the store is used again: so short a lease may end during a renewal on a busy machine."""
    with anyio.fail_after(PATIENCE):
        while auth.status().store_failing or not await _is_shared(sandbox, proxy):
            await _renew(sandbox, client)


async def _renew(sandbox: Sandbox, client: httpx.AsyncClient) -> None:
    """Make the server refuse all tokens; the client still gets through."""
    sandbox.revoke()
    assert (await client.post("/v1/Invoices", json={})).status_code == httpx.codes.OK


#: How to break Redis, and how to repair it.
FAULTS: dict[str, tuple[Callable[[RedisServer, Proxy], object], Callable[..., object]]] = {
    "read-only": (
        lambda server, _: server.ask("REPLICAOF 127.0.0.1 1"),
        lambda server, _: server.ask("REPLICAOF NO ONE"),
    ),
    "full": (
        lambda server, _: server.ask("CONFIG SET maxmemory 1"),
        lambda server, _: server.ask("CONFIG SET maxmemory 0"),
    ),
    "slow": (lambda _, proxy: proxy.hold(), lambda _, proxy: proxy.heal()),
    "down": (lambda server, _: server.stop(), lambda server, _: server.start()),
}


@pytest.mark.usefixtures("brief_leases")
@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.slow] if f == "slow" else []) for f in FAULTS]
)
async def test_requests_go_on_and_the_store_is_used_again(
    sandbox: Sandbox,
    redis_server: RedisServer,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    """Redis fails and recovers twice: each request gets a token, and each change is logged once."""
    caplog.set_level(logging.INFO, "taxizer_async")
    break_it, mend_it = FAULTS[fault]
    # Only a silent store is waited for.
    policy = attrs.evolve(_POLICY, store_timeout=2.0) if fault == "slow" else _POLICY
    async with _auth(sandbox, proxy, policy) as auth, _client(sandbox, auth) as client:
        await _renew(sandbox, client)
        for _ in range(2):
            break_it(redis_server, proxy)
            for _ in range(3):
                await _renew(sandbox, client)
            mend_it(redis_server, proxy)
            await _use_again(sandbox, proxy, auth, client)

    assert sandbox.counters.reuses == 0
    logged = [vars(record)["taxizer_event"] for record in caplog.records]
    changes = [name for name in logged if name.startswith("Store")]
    assert changes == ["StoreFailed", "StoreRecovered"] * (len(changes) // 2)
    # A stall of a busy machine may look like a silent store.
    assert len(changes) == 4 or (fault == "slow" and len(changes) > 4)


@pytest.mark.report(153)
@pytest.mark.parametrize("fault", ["read-only", "full"])
async def test_a_store_that_can_only_be_read_is_read(
    sandbox: Sandbox, redis_server: RedisServer, proxy: Proxy, fault: str
) -> None:
    """The workers that start while Redis can't be written use the good token that is in it."""
    async with _auth(sandbox, proxy) as auth:
        token = await auth.token()
    FAULTS[fault][0](redis_server, proxy)
    for _ in range(8):
        async with _auth(sandbox, proxy) as late:
            assert (await late.token()).jwt == token.jwt
            assert not late.status().store_failing

    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_a_cut_at_any_byte_is_mended_by_another_try(
    sandbox: Sandbox, proxy: Proxy, direction: Direction
) -> None:
    """One connection that ends anywhere in a renewal costs no request, no login and no exchange."""
    renewals = 0
    async with _auth(sandbox, proxy) as auth, _client(sandbox, auth) as client:
        places = await _measure(sandbox, proxy, client, direction)
        measured = sandbox.counters.refreshes
        for number, after in enumerate(places, 1):
            proxy.cut(direction, [after])
            # Records differ by a few bytes, so that one renewal may end before the cut.
            while proxy.resets < number:
                await _renew(sandbox, client)
                renewals += 1
            assert not auth.status().store_failing

    assert proxy.resets == len(places)
    assert (sandbox.counters.connects, sandbox.counters.reuses) == (1, 0)
    assert sandbox.counters.refreshes == measured + renewals


@pytest.mark.usefixtures("brief_leases")
@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_a_cut_in_both_tries_costs_no_request(
    sandbox: Sandbox, proxy: Proxy, direction: Direction
) -> None:
    """If the second connection ends there, too, the store has failed, and is used again afterwards."""
    async with _auth(sandbox, proxy) as auth, _client(sandbox, auth) as client:
        for after in await _measure(sandbox, proxy, client, direction):
            proxy.cut(direction, itertools.repeat(after, 2))
            await _renew(sandbox, client)
            proxy.heal()
        await _use_again(sandbox, proxy, auth, client)

    assert sandbox.counters.reuses == 0


async def _measure(
    sandbox: Sandbox, proxy: Proxy, client: httpx.AsyncClient, direction: Direction
) -> list[int]:
    """Return after how many bytes to cut: everywhere in the course of a renewal, though not at each."""
    await _renew(sandbox, client)
    lengths = []
    for _ in range(3):
        before = proxy.passed[direction]
        await _renew(sandbox, client)
        lengths.append(proxy.passed[direction] - before)
    # A longer one has extended its lease, too.
    return list(range(1, min(lengths), 41))


@pytest.mark.slow
def test_a_fleet_outlives_connections_that_keep_ending(sandbox: Sandbox, proxy: Proxy) -> None:
    """Under load, with a connection cut every few hundred bytes: no request fails."""
    sandbox.lifetime, sandbox.refresh_latency = 2.0, 0.2
    rng = random.Random(1)  # noqa: S311 - not for secrets
    policy = {"unauthorized_budget": 1_000}
    config = WorkerConfig(store=("redis", proxy.url), policy=policy, pause=0.1)
    with Fleet(sandbox, config) as fleet:
        fleet.start(3)
        fleet.start_load(4)
        proxy.cut("to server", iter(lambda: rng.randrange(1, 1_500), 0))
        proxy.cut("to client", iter(lambda: rng.randrange(1, 150), 0))
        sandbox.wait_until(lambda counters: counters.exchanges >= 5 and proxy.resets > 10, PATIENCE)
        reports = fleet.ask_all("stop")

    assert [report.failures for report in reports] == [[], [], []]
    assert sandbox.counters.reuses == 0
