"""A Redis that gives no answer, or ends its connections: each call is made twice at most, and ends."""

from __future__ import annotations

import asyncio

from typing import Any

import anyio
import pytest
import trustme

from taxizer_async import TokenStoreError
from taxizer_async.stores import _redis_calls
from taxizer_async.stores.redis import RedisTokenStore
from tests.stores.conftest import KEY
from tests.support.certificates import tls_contexts
from tests.support.families import PATIENCE
from tests.support.limits import HANG
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import Proxy


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


def _limit(monkeypatch: pytest.MonkeyPatch, *, answer: float, connect: float) -> None:
    monkeypatch.setattr(_redis_calls, "ANSWER_TIMEOUT", answer)
    monkeypatch.setattr(_redis_calls, "CONNECT_TIMEOUT", connect)


async def test_a_server_that_never_answers_is_told(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first connection gets the time that connecting takes, once: there is no better one."""
    proxy.hold()
    _limit(monkeypatch, answer=PATIENCE, connect=0.2)
    async with RedisTokenStore.from_url(proxy.url) as store:
        with anyio.fail_after(HANG), pytest.raises(TokenStoreError) as caught:
            await store.load(KEY)

    assert str(caught.value) == "Redis has not answered within 0.2 s"


async def test_a_server_that_answers_no_more_is_told(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time for an answer a new connection is tried; the error tells of both."""
    async with RedisTokenStore.from_url(proxy.url) as store:
        await store.load(KEY)
        proxy.hold()
        _limit(monkeypatch, answer=0.1, connect=0.2)
        with anyio.fail_after(HANG), pytest.raises(TokenStoreError) as caught:
            await store.load(KEY)

    told = "Redis has not answered within 0.1 s, nor within 0.2 s on a new connection"
    assert str(caught.value) == told


@pytest.mark.invariant(26)
async def test_a_connection_that_died_in_silence_is_given_up_early(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other idle connection is tried, nor closed with the other end's consent, as TLS would have it."""
    authority = trustme.CA()
    served, _ = tls_contexts(authority)
    trusted = authority.cert_pem.bytes().decode()
    with Proxy(redis_server.port, tls=served) as tls, Proxy(tls.port) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        async with RedisTokenStore.from_url(url, ssl_ca_data=trusted) as store:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(store.load, KEY)
            proxy.forget_connections("in silence")
            _limit(monkeypatch, answer=0.1, connect=PATIENCE)
            with anyio.fail_after(HANG):
                assert await store.load(KEY) is None
    # asyncio has to see that the connections have ended.
    await anyio.wait_all_tasks_blocked()


async def test_a_call_is_made_twice_if_its_connection_ends() -> None:
    """A call is made on one new connection, and redis-py repeats nothing of its own accord."""
    connections = 0

    def end(_: object, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server: Any = await asyncio.start_server(end, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with RedisTokenStore.from_url(f"redis://127.0.0.1:{port}") as store:
            with pytest.raises(Exception, match="onnection"):
                await store.load(KEY)

    assert connections == 2
