"""What calls the API in a test: crowds of requests over httpx, and the flow of a request by hand."""

from __future__ import annotations

import ssl

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, Protocol, Self, TypeVar

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Sandbox


E = TypeVar("E", bound=Exception)
T = TypeVar("T")

#: Where tests send a request if any resource will do.
PATH: Final = "/v1/Invoices/GenerateInvoice"
#: One for all clients, as each would read the CA bundle, for a server that speaks no TLS.
TLS: Final = ssl.create_default_context()


class Fleet:
    """Sends requests over clients that share one auth; small pools, as httpx's large ones are slow."""

    def __init__(
        self, sandbox: Sandbox, auth: httpx.Auth, *, clients: int, connections: int
    ) -> None:
        limits = httpx.Limits(max_connections=connections)
        self._clients = [
            httpx.AsyncClient(
                auth=auth, base_url=sandbox.base_url, limits=limits, timeout=55, verify=TLS
            )
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


class MakeAuth(Protocol):
    def __call__(self, credentials: Any = ..., **options: Any) -> TaxizerAuth: ...


class FleetFactory(Protocol):
    def __call__(
        self, auth: httpx.Auth, *, clients: int = ..., connections: int = ...
    ) -> Fleet: ...


async def gather(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """Make all *calls* at once; return what they return, as it comes."""
    results: list[T] = []

    async def make(call: Callable[[], Awaitable[T]]) -> None:
        results.append(await call())

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(make, call)
    return results


async def failure_of(kind: type[E], call: Callable[[], Awaitable[object]]) -> E:
    """Make a *call* that has to fail, and return its exception."""
    with pytest.raises(kind) as caught:
        await call()
    return caught.value


def auth_of(sandbox: Sandbox, credentials: Any = None, **options: Any) -> TaxizerAuth:
    """Return an auth for *sandbox*, by its own credentials unless others are given."""
    return TaxizerAuth(credentials or sandbox.credentials, base_url=sandbox.base_url, **options)


def client_of(auth: TaxizerAuth, **options: Any) -> httpx.AsyncClient:
    """Return a plain client of httpx's with *auth*, pointed at its API."""
    return httpx.AsyncClient(auth=auth, base_url=auth.base_url, **{"verify": TLS} | options)


def arrived(sandbox: Sandbox) -> list[tuple[int | None, bytes]]:
    """Return the status and the body of each request to the API."""
    return [(entry.status, entry.body) for entry in sandbox.resource_log]


def flow_of(auth: TaxizerAuth) -> AsyncGenerator[httpx.Request, httpx.Response]:
    """Return the flow of a request to the API, not begun."""
    return auth.async_auth_flow(httpx.Request("POST", auth.base_url + PATH))
