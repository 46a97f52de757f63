"""A Redis for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="redis_url", scope="module")
def _redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
