"""A sandbox per test, and what sends requests to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Sandbox


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    return TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)


class Fleet:
    """Sends requests over clients that share one auth; small pools, as httpx's large ones are slow."""

    def __init__(
        self, sandbox: Sandbox, auth: httpx.Auth, *, clients: int, connections: int
    ) -> None:
        limits = httpx.Limits(max_connections=connections)
        self._clients = [
            httpx.AsyncClient(auth=auth, base_url=sandbox.base_url, limits=limits, timeout=30)
            for _ in range(clients)
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()

    async def send(
        self, requests: int, path: str = "/v1/Devices/Register"
    ) -> list[int | Exception]:
        """Send all at once; return the statuses, or what was raised instead."""
        answers: list[int | Exception] = []

        async def send_one(client: httpx.AsyncClient) -> None:
            try:
                answers.append((await client.post(path, json={})).status_code)
            except Exception as problem:  # noqa: BLE001 - the test looks at it
                answers.append(problem)

        async with anyio.create_task_group() as tasks:
            for number in range(requests):
                tasks.start_soon(send_one, self._clients[number % len(self._clients)])
        return answers


class FleetFactory(Protocol):
    def __call__(
        self, auth: httpx.Auth, *, clients: int = ..., connections: int = ...
    ) -> Fleet: ...


@pytest.fixture(name="fleet")
def _fleet(sandbox: Sandbox) -> FleetFactory:
    def build(auth: httpx.Auth, *, clients: int = 1, connections: int = 20) -> Fleet:
        return Fleet(sandbox, auth, clients=clients, connections=connections)

    return build
