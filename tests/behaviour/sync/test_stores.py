"""What a store has to be for sync callers."""

from __future__ import annotations

import gc
import warnings

from collections.abc import Iterator

import pytest
import redis.asyncio

from taxizer_async import ConfigurationError
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.support.callers import auth_of
from tests.support.loops import ASYNCIO
from tests.support.redis_server import RedisServer
from tests.support.threads import helper_threads, wait_until


@pytest.fixture(name="redis_url", scope="module")
def _redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


def test_redis_by_its_url_serves_sync_callers(sandbox: Sandbox, redis_url: str) -> None:
    """Two auths share a login through Redis, and each helper thread closes the connections that it opened."""
    store = RedisTokenStore.from_url(redis_url)
    first, second = auth_of(sandbox, store=store), auth_of(sandbox, store=store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jwts = {auth.sync_token().jwt for auth in (first, second)}
        wait_until(lambda: not helper_threads())
        first.sync_forget()
        wait_until(lambda: not helper_threads())
        gc.collect()

    assert len(jwts) == 1
    assert sandbox.counters.connects == 1


def test_a_redis_client_of_ones_own_serves_no_sync_caller(sandbox: Sandbox, redis_url: str) -> None:
    """A client belongs to an event loop, and a sync caller has none: the error names what to use."""
    client = redis.asyncio.Redis.from_url(redis_url)
    auth = auth_of(sandbox, store=RedisTokenStore(client))
    with pytest.raises(ConfigurationError, match=r"RedisTokenStore\.from_url"):
        auth.sync_token()
    assert sandbox.counters.exchanges == 0


@pytest.mark.parametrize("anyio_backend", [ASYNCIO], indirect=True)
async def test_a_sync_caller_may_wait_for_a_refresh_over_ones_own_client(
    sandbox: Sandbox, redis_url: str
) -> None:
    """What async callers have got with it is everybody's."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        auth = auth_of(sandbox, store=RedisTokenStore(client, prefix="own:"))
        token = await auth.token()

        assert auth.sync_token() == token
