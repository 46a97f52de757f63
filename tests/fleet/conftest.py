"""Fixtures of the fleet tests: a redis-server, and either store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.fleet import WorkerConfig
from tests.support.redis_server import RedisServer


@pytest.fixture(name="redis_server")
def _redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


# Trio is tested within one process; here it would double the number of starts.
STORES = ["file", pytest.param("file on trio", marks=pytest.mark.slow), "redis"]


@pytest.fixture(name="config", params=STORES)
def _config(request: pytest.FixtureRequest, tmp_path: Path) -> WorkerConfig:
    """Return a config for each kind of store."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        return WorkerConfig(store=("redis", server.url))
    backend = "trio" if "trio" in request.param else "asyncio"
    return WorkerConfig(store=("file", str(tmp_path / "tokens")), backend=backend)
