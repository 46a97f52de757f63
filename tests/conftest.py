"""Fixtures that several folders use: event loops, a clean environment, a sandbox, a proxy before Redis, a machine elsewhere."""

from __future__ import annotations

import os
import time

from typing import TYPE_CHECKING

import pytest

from tests.support.tcp_proxy import Proxy


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async.testing import Sandbox
    from tests.support.redis_server import RedisServer


pytest_plugins = ["pytester"]

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(name="anyio_backend", params=BACKENDS)
def _anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TAXIZER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(name="sandbox")
def _sandbox(taxizer_sandbox: Sandbox) -> Sandbox:
    return taxizer_sandbox


@pytest.fixture(name="proxy")
def _proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Stand between a test and the redis-server of its folder."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(
    name="machine_zone", params=["UTC", "America/New_York", "Asia/Tokyo", "Asia/Riyadh"]
)
def _machine_zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Set the machine's time zone."""
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone cannot be set here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()
