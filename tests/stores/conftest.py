"""Fixtures and values of the store tests."""

from __future__ import annotations

import os

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores import Lease, StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore
from tests.support.limits import HANG
from tests.support.redis_server import RedisServer


KEY = StoreKey("https://api.test", "client-1")
JWT, REFRESH = "c4n4ry-jwt-0123456789", "c4n4ry-refresh-0123456789"


def make_record(jwt: str = JWT, *, lifetime: float = 900.0) -> TokenRecord:
    return TokenRecord(
        token=Token(jwt=Secret(jwt), refresh_token=Secret(REFRESH)),
        version=f"version of {jwt}"[:20],
        lifetime=lifetime,
        refresh_lifetime=86_400.0,
        age=0.0,
        refresh_spent=False,
    )


async def held(store: FileTokenStore) -> Lease:
    lease = await store.lease(KEY)
    assert lease is not None
    return lease


async def taken_over(folder: Path) -> Lease:
    """Return the lease once its holder is left behind."""
    store = FileTokenStore(folder)
    end = anyio.current_time() + HANG
    while (lease := await store.lease(KEY)) is None:
        assert anyio.current_time() < end
        await anyio.sleep(0.05)
    return lease


async def jwt_in(store: FileTokenStore) -> str:
    record = await store.load(KEY)
    assert record is not None
    return record.token.jwt.reveal()


def lowest_free_descriptor() -> int:
    """Return the same number as before if nothing was left open since."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture(name="store")
def _store(folder: Path) -> FileTokenStore:
    return FileTokenStore(folder)


@pytest.fixture(name="running_redis_server", scope="session")
def _running_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(name="redis_server")
def _redis_server(running_redis_server: RedisServer) -> RedisServer:
    """An empty store."""
    assert running_redis_server.ask("FLUSHALL") == b"+OK\r\n"
    return running_redis_server
