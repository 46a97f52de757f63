"""A sandbox per test, auth objects that share a clock and a store, and what sends requests."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING, Any, Protocol, Self

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.scripted_store import ScriptedStore


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import Event


#: Past the point from which a token of 900 s is renewed, and from which callers wait.
DUE, PRESSING = 730.0, 875.0


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    return TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="events")
def _events() -> list[Event]:
    return []


@pytest.fixture(name="aging_auth")
def _aging_auth(sandbox: Sandbox, clock: ManualClock, events: list[Event]) -> TaxizerAuth:
    return TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, clock=clock, on_event=events.append
    )


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> ScriptedStore:
    return ScriptedStore(clock)


@pytest.fixture(name="make_auth")
def _make_auth(
    sandbox: Sandbox, clock: ManualClock, store: ScriptedStore, events: list[Event]
) -> Callable[..., TaxizerAuth]:
    def make(credentials: Any = sandbox.credentials, **options: Any) -> TaxizerAuth:
        arguments: dict[str, Any] = {
            "base_url": sandbox.base_url,
            "clock": clock,
            "store": store,
            "on_event": events.append,
        }
        return TaxizerAuth(credentials, **(arguments | options))

    return make


class Fleet:
    """Sends requests over clients that share one auth; small pools, as httpx's large ones are slow."""

    def __init__(
        self, sandbox: Sandbox, auth: httpx.Auth, *, clients: int, connections: int
    ) -> None:
        limits = httpx.Limits(max_connections=connections)
        self._clients = [
            httpx.AsyncClient(auth=auth, base_url=sandbox.base_url, limits=limits, timeout=55)
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
