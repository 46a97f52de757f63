"""What the crowd's figures are made of is counted rightly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from benchmarks.crowd_worker import get_all
from benchmarks.redis_load import count_commands, looks_per_second
from benchmarks.scenarios.crowd import Start
from taxizer_async import Credentials, MemoryTokenStore, TaxizerAuth
from taxizer_async.stores import StoreKey
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.support.limits import HANG
from tests.support.redis_server import RedisServer


@pytest.fixture(name="redis_server")
def _redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_commands_at_redis_are_those_of_stores(redis_server: RedisServer) -> None:
    """Each call of a store is one command; what its script does, and connecting, is not counted."""
    async with RedisTokenStore.from_url(redis_server.url) as store:
        for number in range(3):
            await store.load(StoreKey("https://api.test", f"app-{number}"))

    assert count_commands(redis_server) == 3


def test_looks_are_counted_until_the_time_is_over(redis_server: RedisServer) -> None:
    """The rate is that of looks which Redis has served."""
    rate = looks_per_second(redis_server, seconds=0.2)

    assert 0 < rate * 0.2 <= count_commands(redis_server)


async def test_each_auth_of_a_process_is_counted() -> None:
    """A process reports when each of its auths had a token, and leaves out those that failed."""
    with Sandbox() as sandbox:
        store = MemoryTokenStore()
        wrong = Credentials(sandbox.credentials.client_id, "wrong")
        good, bad = (
            [TaxizerAuth(pair, base_url=sandbox.base_url, store=shared) for _ in range(3)]
            for pair, shared in ((sandbox.credentials, store), (wrong, MemoryTokenStore()))
        )
        with anyio.fail_after(HANG):
            served = await get_all([*good, *bad])

    assert len(served) == 3
    assert sum(auth.status().logins for auth in good) == 1


def test_a_crowd_is_named_after_its_size() -> None:
    """A table says how many processes and auths there were."""
    start = Start(
        store="redis",
        processes=4,
        auths=500,
        login=0.3,
        counters={},
        failed=0,
        calls=(),
        cpu=(),
        share=(),
        commands=0,
        delays=(),
    )

    assert start.name == "RedisTokenStore, 4 processes with 500 auths each"
