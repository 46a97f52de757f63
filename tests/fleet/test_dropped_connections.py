"""Redis connections that a firewall has forgotten, and event loops that were blocked: nobody logs in again."""

from __future__ import annotations

import asyncio
import contextlib
import time

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, final

import anyio
import anyio.lowlevel
import httpx
import pytest
import redis.asyncio
import redis.asyncio.sentinel
import trustme

from taxizer_async import Event, StoreFailed, TaxizerAuth, TaxizerClient
from taxizer_async.stores import Lease, StoreKey, TokenRecord
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.support.certificates import tls_contexts
from tests.support.families import PATIENCE
from tests.support.loops import ASYNCIO, run_together
from tests.support.redis_server import RedisServer, running_cluster, running_sentinel
from tests.support.tcp_proxy import Manner, Proxy


pytestmark = pytest.mark.timeout(120)


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@contextlib.asynccontextmanager
async def _store_of_url(url: str) -> AsyncIterator[RedisTokenStore]:
    async with RedisTokenStore.from_url(url) as store:
        yield store


@contextlib.asynccontextmanager
async def _store_of_client(url: str) -> AsyncIterator[RedisTokenStore]:
    """The user's own client, with several idle connections that the user has opened."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await asyncio.gather(*[client.ping() for _ in range(5)])
        yield RedisTokenStore(client)


@contextlib.asynccontextmanager
async def _store_of_blocking_pool(url: str) -> AsyncIterator[RedisTokenStore]:
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=2)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        yield RedisTokenStore(client)


@contextlib.asynccontextmanager
async def _store_of_valkey(url: str) -> AsyncIterator[RedisTokenStore]:
    library: Any = pytest.importorskip("valkey.asyncio")
    async with library.Valkey.from_url(url) as client:
        yield RedisTokenStore(client)


STORES: dict[str, Callable[[str], Any]] = {
    "of a URL": _store_of_url,
    "of a client": _store_of_client,
    "of a pool that blocks": _store_of_blocking_pool,
    "of Valkey's client": _store_of_valkey,
}


@pytest.mark.invariant(26)
@pytest.mark.report(150)
@pytest.mark.parametrize("manner", ["in silence", "with a reset"])
@pytest.mark.parametrize("kind", STORES)
async def test_connections_that_a_firewall_forgot_cost_no_login(
    sandbox: Sandbox, proxy: Proxy, kind: str, manner: Manner
) -> None:
    """Each renewal after an idle time is one refresh, a second or two later."""
    await _renew_in_spite(sandbox, proxy, manner, lambda: STORES[kind](proxy.url))


@pytest.mark.slow
@pytest.mark.report(150)
@pytest.mark.parametrize("manner", ["in silence", "with a reset"])
async def test_a_cluster_whose_connections_were_forgotten_costs_no_login(
    sandbox: Sandbox, tmp_path: Path, manner: Manner
) -> None:
    """The same holds for a cluster's client, which has several idle connections to each node."""
    with running_cluster(tmp_path) as server, Proxy(server.port) as proxy:

        @contextlib.asynccontextmanager
        async def make() -> AsyncIterator[RedisTokenStore]:
            client_class: Any = redis.asyncio.RedisCluster
            async with client_class.from_url(
                proxy.url, address_remap=lambda address: (address[0], proxy.port)
            ) as client:
                await asyncio.gather(*[client.get("mine") for _ in range(5)])
                yield RedisTokenStore(client)

        await _renew_in_spite(sandbox, proxy, manner, make)


@pytest.mark.slow
async def test_a_cluster_that_its_client_has_forgotten_is_found_again(tmp_path: Path) -> None:
    """As redis-py 5.0 does with the one node of a cluster when its connection breaks."""
    with running_cluster(tmp_path) as server:
        async with redis.asyncio.RedisCluster.from_url(server.url) as client:
            store = RedisTokenStore(client)
            await store.check()
            await client.aclose()
            client.nodes_manager.startup_nodes.clear()

            await store.check()


@pytest.mark.slow
@pytest.mark.report(150)
@pytest.mark.parametrize("manner", ["in silence", "with a reset"])
async def test_a_sentinel_whose_connections_were_forgotten_costs_no_login(
    sandbox: Sandbox, proxy: Proxy, tmp_path: Path, manner: Manner
) -> None:
    """The same holds for a client of a Sentinel."""
    with running_sentinel(tmp_path, proxy.port) as port:

        @contextlib.asynccontextmanager
        async def make() -> AsyncIterator[RedisTokenStore]:
            sentinel_class: Any = redis.asyncio.sentinel.Sentinel
            sentinel = sentinel_class([("127.0.0.1", port)])
            async with sentinel.master_for("till") as client:
                yield RedisTokenStore(client)
                for each in sentinel.sentinels:
                    await each.aclose()

        await _renew_in_spite(sandbox, proxy, manner, make)


@pytest.mark.slow
@pytest.mark.report(150)
async def test_a_redis_far_away_over_tls_gets_its_time(
    sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Connecting may take several times as long as an answer, also after the connections were forgotten."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    served, _ = tls_contexts(authority)
    with Proxy(redis_server.port, tls=served) as tls, Proxy(tls.port) as proxy:
        proxy.latency = 0.15
        url = f"rediss://127.0.0.1:{proxy.port}"

        def make() -> contextlib.AbstractAsyncContextManager[RedisTokenStore]:
            return RedisTokenStore.from_url(url, ssl_ca_certs=str(tmp_path / "ca.pem"))

        async with make() as store:
            began = time.monotonic()
            assert await store.load(StoreKey(sandbox.base_url, "nobody")) is None
            assert time.monotonic() - began > 4 * proxy.latency
            proxy.forget_connections("in silence")
            began = time.monotonic()
        # Closing does not wait for the other end.
        assert time.monotonic() - began < 10
        await _renew_in_spite(sandbox, proxy, "in silence", make)
    # asyncio has to see that the abandoned connections have ended.
    await anyio.wait_all_tasks_blocked()


async def _renew_in_spite(
    sandbox: Sandbox,
    proxy: Proxy,
    manner: Manner,
    make_store: Callable[[], contextlib.AbstractAsyncContextManager[RedisTokenStore]],
) -> None:
    """Renew three times, each time after the connections were forgotten: one refresh each time, and no store fails."""
    heard: list[Event] = []
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(3):
            store = await stack.enter_async_context(make_store())
            client = TaxizerClient(
                sandbox.credentials,
                base_url=sandbox.base_url,
                store=store,
                on_event=heard.append,
                timeout=PATIENCE,
                trust_env=False,
            )
            clients.append(await stack.enter_async_context(client))
        await _send_all(clients)
        for number in range(3):
            sandbox.revoke()
            proxy.forget_connections(manner)
            swallowed, began = proxy.swallowed, time.monotonic()
            await _send_all(clients)
            assert proxy.swallowed > swallowed
            assert time.monotonic() - began < 5
            assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, number + 1)
            for each in clients:
                await each.auth.events_delivered()
            assert [event for event in heard if isinstance(event, StoreFailed)] == []


async def _send_all(clients: list[TaxizerClient]) -> None:
    answers = await asyncio.gather(*[each.post("/v1/Invoices", json={}) for each in clients])
    assert [answer.status_code for answer in answers] == [httpx.codes.OK] * len(clients)


@final
class _Stalling:
    """A store whose event loop is blocked once, just after the first call to Redis began."""

    def __init__(self, store: RedisTokenStore, after: float) -> None:
        self._store = store
        self._after = after
        self._has_stalled = False

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        self._stall_soon()
        return await self._store.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await self._store.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self._store.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self._stall_soon()
        return await self._store.lease(key)

    def _stall_soon(self) -> None:
        if not self._has_stalled:
            self._has_stalled = True
            asyncio.get_running_loop().call_later(self._after, time.sleep, 2.5)


@pytest.mark.invariant(26)
@pytest.mark.report(152)
@pytest.mark.parametrize("after", [0.0, 0.003, 0.02])
def test_loops_that_were_blocked_log_in_once(
    sandbox: Sandbox, redis_server: RedisServer, after: float
) -> None:
    """Of workers whose loops are blocked in their first call to a healthy Redis one logs in."""
    heard: list[Event] = []

    async def work() -> None:
        async with RedisTokenStore.from_url(redis_server.url) as store:
            auth = TaxizerAuth(
                sandbox.credentials,
                base_url=sandbox.base_url,
                store=_Stalling(store, after),
                on_event=heard.append,
            )
            await auth.token()
            await auth.events_delivered()

    run_together(*[(ASYNCIO, work)] * 6)
    assert sandbox.counters.exchanges == 1
    assert [event for event in heard if isinstance(event, StoreFailed)] == []


@pytest.mark.slow
@pytest.mark.report(152)
async def test_many_auths_in_a_busy_loop_log_in_once(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    """Of a hundred auths with connections of their own, in a loop that is always late, one logs in."""
    async with contextlib.AsyncExitStack() as stack:
        auths = []
        for _ in range(100):
            store = await stack.enter_async_context(RedisTokenStore.from_url(redis_server.url))
            auths.append(TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_busy)
            async with anyio.create_task_group() as requests:
                for auth in auths:
                    requests.start_soon(auth.token)
            tasks.cancel_scope.cancel()

    assert sandbox.counters.exchanges == 1
    assert not any(auth.status().store_failing for auth in auths)


async def _keep_busy() -> None:
    while True:
        time.sleep(0.1)  # noqa: ASYNC251 - this is what makes it busy
        await anyio.lowlevel.checkpoint()


async def test_after_a_failover_the_store_goes_to_the_new_primary(
    sandbox: Sandbox, tmp_path: Path, proxy: Proxy, redis_server: RedisServer
) -> None:
    """What the old primary refuses is asked once more, on a new connection, which goes to the new one."""
    (tmp_path / "new").mkdir()
    with RedisServer(tmp_path / "new") as new:
        async with RedisTokenStore.from_url(proxy.url) as store:
            auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
            await auth.token()
            redis_server.ask("REPLICAOF 127.0.0.1 1")
            proxy.go_to(new.port)
            await store.check()
            await auth.forget()
            await auth.token()
            assert not auth.status().store_failing

        async with RedisTokenStore.from_url(new.url) as store:
            other = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
            await other.token()
    assert sandbox.counters.connects == 2
