"""One Redis store in several processes, event loops and set-ups of servers."""

from __future__ import annotations

import asyncio
import json
import sys
import threading

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import redis.asyncio
import redis.asyncio.sentinel

from taxizer_async import TokenStoreError
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, check_token_store
from tests.stores.conftest import KEY
from tests.support import families
from tests.support.redis_server import RedisServer, running_sentinel


PROGRAM = """
import anyio, json, os, redis.asyncio, sys, threading
from taxizer_async import Secret, Token, TokenStoreError
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores.redis import RedisTokenStore

url, kind = json.loads(sys.argv[1])
of_url = kind == "of a URL"
client = redis.asyncio.Redis.from_url(url)
store = RedisTokenStore.from_url(url) if of_url else RedisTokenStore(client)

async def use(name):
    key = StoreKey("https://api.test", name)
    for number in range(100):
        version = f"{name}-{number}"
        token = Token(jwt=Secret(version))
        record = TokenRecord(
            token=token, version=version, lifetime=900.0, refresh_lifetime=None, age=0.0,
            refresh_spent=False,
        )
        lease = await store.lease(key)
        assert await store.save(key, record, lease) is True
        assert (await store.load(key)).version == version
        await lease.release()

async def in_child():
    await store.aclose()
    if of_url:
        await use("child")
        await store.aclose()
        return
    try:
        await use("child")
    except TokenStoreError as problem:
        assert "in another process" in str(problem)
    else:
        raise AssertionError("a client was shared by two processes")

async def main():
    await use("parent")
    # A fork copies a mutex that another thread holds, and not that thread.
    held, forked = threading.Event(), threading.Event()
    mutexes = [store._clients._clients._loops.get().mutex] if of_url else []
    threading.Thread(target=hold, args=(mutexes, held, forked)).start()
    held.wait()
    child = os.fork()
    forked.set()
    if child == 0:
        # No second event loop can be run in this thread.
        problems = []
        thread = threading.Thread(target=run, args=(problems,))
        thread.start()
        thread.join(60)
        os._exit(len(problems) + thread.is_alive())
    await use("parent")
    status = await anyio.to_thread.run_sync(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 0

def hold(mutexes, held, forked):
    for mutex in mutexes:
        mutex.acquire()
    held.set()
    forked.wait()
    for mutex in mutexes:
        mutex.release()

def run(problems):
    try:
        anyio.run(in_child)
    except BaseException as problem:
        print(repr(problem), file=sys.stderr, flush=True)
        problems.append(problem)

anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["of a URL", "of a client"])
def test_a_fork_shares_no_connection(redis_server: RedisServer, kind: str) -> None:
    """A store of a URL works on both sides of a fork; one of a client raises in the child."""
    done = families.run(
        # Python 3.12 warns of a fork with threads, and of a client that is not closed.
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps([redis_server.url, kind])]
    )

    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_a_users_client_moves_on_from_a_loop_that_ended(redis_server: RedisServer) -> None:
    """It moves to the next loop; a third one at the same time is refused."""
    client = redis.asyncio.Redis.from_url(redis_server.url)
    store = RedisTokenStore(client)

    async def use() -> None:
        assert await store.load(KEY) is None
        await client.connection_pool.disconnect()

    async def use_and_look_elsewhere() -> None:
        assert await store.load(KEY) is None
        with pytest.raises(TokenStoreError, match="in another event loop"):
            await anyio.to_thread.run_sync(asyncio.run, store.load(KEY))
        await use()

    for _ in range(2):
        asyncio.run(use())
    asyncio.run(use_and_look_elsewhere())


def test_a_closed_store_opens_again(redis_server: RedisServer) -> None:
    """Closing the store early, or twice, does no harm."""

    async def use() -> None:
        async with RedisTokenStore.from_url(redis_server.url) as store:
            for _ in range(2):
                assert await store.load(KEY) is None
                await store.aclose()
                await store.aclose()

    asyncio.run(use())


def test_loops_that_ended_are_not_kept(redis_server: RedisServer) -> None:
    """A program that runs one loop after another does not accumulate clients."""
    store = RedisTokenStore.from_url(redis_server.url)

    async def use() -> None:
        assert await store.load(KEY) is None
        # As if the program had not closed it, but without the garbage collector's warning.
        await store._clients.current().connection_pool.disconnect()

    for _ in range(5):
        asyncio.run(use())
    kept: Any = store._clients
    assert len(kept._clients._loops.get().values) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_client_of_a_sentinel_keeps_all_rules(redis_server: RedisServer, tmp_path: Path) -> None:
    """The server that the Sentinel names is used."""

    async def check(port: int) -> tuple[str, ...]:
        sentinel_class: Any = redis.asyncio.sentinel.Sentinel
        sentinel = sentinel_class([("127.0.0.1", port)])
        async with sentinel.master_for("till") as client:
            try:
                return await check_token_store(lambda: RedisTokenStore(client))
            finally:
                for each in sentinel.sentinels:
                    await each.aclose()

    with running_sentinel(tmp_path, redis_server.port) as port:
        passed = asyncio.run(check(port))
    # A lambda can't be pickled for the process that is killed.
    assert len(passed) == len(TOKEN_STORE_CASES) - 1


def test_threads_that_fork_off_at_once_get_a_client_each(redis_server: RedisServer) -> None:
    """Loops that start at the same moment in one process each get a client."""
    store = RedisTokenStore.from_url(redis_server.url)
    gate = threading.Barrier(8)
    clients: list[object] = []

    async def use() -> None:
        await anyio.to_thread.run_sync(gate.wait)
        clients.append(store._clients.current())
        assert await store.load(KEY) is None
        await anyio.to_thread.run_sync(gate.wait)
        await store.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, clients))) == 8
