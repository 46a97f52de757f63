"""A lease belongs to the object that its store gave, and not to the thread or event loop that took it."""

from __future__ import annotations

import contextlib

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import anyio
import anyio.to_thread
import pytest

from taxizer_async.stores import FailureStore, Lease, MemoryTokenStore, StoreView, TokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from tests.support.redis_server import RedisServer
from tests.support.tokens import make_failure

from .conftest import KEY, make_record


@contextlib.asynccontextmanager
async def closing(store: TokenStore) -> AsyncIterator[None]:
    """Close the connections of this event loop at the end."""
    try:
        yield
    finally:
        if isinstance(store, RedisTokenStore):
            await store.aclose()


@pytest.fixture(name="any_store", params=["memory", "file", "redis"])
def _any_store(request: pytest.FixtureRequest, anyio_backend: Any, tmp_path: Path) -> TokenStore:
    if request.param == "memory":
        return MemoryTokenStore()
    if request.param == "file":
        return FileTokenStore(tmp_path / "tokens")
    if anyio_backend != "asyncio" and anyio_backend[0] != "asyncio":
        pytest.skip("redis.asyncio does not run on trio")
    server: RedisServer = request.getfixturevalue("redis_server")
    return RedisTokenStore.from_url(server.url)


async def elsewhere(store: TokenStore, backend: Any, call: Callable[[], Any]) -> Any:
    """Await *call* on another event loop, in another thread."""
    name = backend if isinstance(backend, str) else backend[0]

    async def run() -> Any:
        async with closing(store):
            return await call()

    return await anyio.to_thread.run_sync(lambda: anyio.run(run, backend=name))


async def test_a_lease_is_used_from_another_thread(
    any_store: TokenStore, anyio_backend: Any
) -> None:
    """What was taken on one thread's loop is extended, saved with and released on another's."""
    async with closing(any_store):
        lease: Lease = await elsewhere(any_store, anyio_backend, lambda: any_store.lease(KEY))
        assert await any_store.lease(KEY) is None
        assert await lease.extend() is True
        assert await any_store.save(KEY, make_record(), lease) is True
        assert await elsewhere(any_store, anyio_backend, lease.extend) is True
        await lease.release()

        again = await any_store.lease(KEY)
        assert again is not None
        assert await elsewhere(any_store, anyio_backend, lease.extend) is False
        await elsewhere(any_store, anyio_backend, again.release)
        assert await any_store.lease(KEY) is not None


async def test_a_lease_of_another_kind_saves_nothing(any_store: FailureStore) -> None:
    """A store accepts no lease that is not one of its own."""

    class Foreign:
        heartbeat = None

        async def extend(self) -> bool:
            return True

        async def release(self) -> None:
            pass

    async with closing(any_store):
        assert await any_store.save(KEY, make_record(), Foreign()) is False
        assert await any_store.save_failure(KEY, make_failure(), Foreign()) is False
        assert await any_store.look(KEY) == StoreView(record=None, failure=None, leased=ANY)
