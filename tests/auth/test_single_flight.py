"""One login for all who share an auth object, over real sockets."""

from __future__ import annotations

import threading

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import (
    Credentials,
    CredentialsRejectedError,
    MemoryTokenStore,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.auth.conftest import FleetFactory


@pytest.mark.report(13)
@pytest.mark.report(15)
@pytest.mark.report(28)
@pytest.mark.report(29)
@pytest.mark.slow
async def test_a_thousand_cold_requests_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A thousand coroutines that start cold cause one Connect, and all are answered 200."""
    sandbox.connect_latency = 0.3
    async with fleet(auth, connections=10) as clients:
        answers = await clients.send(1_000)

    assert answers == [200] * 1_000
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)


@pytest.mark.report(16)
@pytest.mark.slow
async def test_five_clients_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A thousand coroutines over five clients that share an auth cause one Connect."""
    sandbox.connect_latency = 0.3
    async with fleet(auth, clients=5, connections=4) as clients:
        answers = await clients.send(1_000)

    assert answers == [200] * 1_000
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)


@pytest.mark.report(17)
@pytest.mark.slow
def test_eight_threads_with_a_loop_each_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, anyio_backend: tuple[str, Any]
) -> None:
    """A thousand coroutines over eight threads, each with its own loop, cause one Connect."""
    sandbox.connect_latency = 0.3
    answers: list[int | Exception] = []

    async def send() -> None:
        async with fleet(auth, connections=4) as clients:
            answers.extend(await clients.send(125))

    def run_loop() -> None:
        anyio.run(send, backend=anyio_backend[0])

    threads = [threading.Thread(target=run_loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 1_000
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)


@pytest.mark.report(17)
def test_threads_share_one_renewal_after_a_revocation(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, anyio_backend: tuple[str, Any]
) -> None:
    """When the token is revoked under four loops at once, it is renewed once."""
    anyio.run(auth.token, backend=anyio_backend[0])
    sandbox.revoke()
    sandbox.refresh_latency = 0.2
    answers: list[int | Exception] = []

    async def send() -> None:
        async with fleet(auth, connections=10) as clients:
            answers.extend(await clients.send(10))

    def run_loop() -> None:
        anyio.run(send, backend=anyio_backend[0])

    threads = [threading.Thread(target=run_loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 40
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(14)
async def test_auth_objects_that_share_a_store_share_one_login(
    sandbox: Sandbox,
) -> None:
    """Fifty auth objects made per request, with one store between them, cause one Connect."""
    sandbox.connect_latency = 0.1
    store = MemoryTokenStore()
    answers: list[int | Exception] = []

    async def handle_request() -> None:
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            answers.append((await client.post("/v1/Devices/Register")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(handle_request)

    assert answers == [200] * 50
    assert sandbox.counters.connects == 1


@pytest.mark.report(76)
@pytest.mark.report(78)
async def test_wrong_credentials_are_sent_once(sandbox: Sandbox, fleet: FleetFactory) -> None:
    """Fifty waiters and two hundred later calls get their own refusal from one Connect."""
    sandbox.connect_latency = 0.2
    auth = TaxizerAuth(Credentials("sandbox-client", "wrong"), base_url=sandbox.base_url)
    async with fleet(auth) as clients:
        errors = await clients.send(50) + await clients.send(200)

    assert sandbox.counters.connects == 1
    assert len({id(error) for error in errors}) == 250
    assert all(isinstance(error, CredentialsRejectedError) for error in errors)
    assert "served from memory until" in str(errors[-1])
    assert "/v1/Auth/Connect" in str(errors[-1])


@pytest.mark.report(21)
async def test_waiters_share_a_failed_login(sandbox: Sandbox, fleet: FleetFactory) -> None:
    """Fifty waiters for a login that fails make one round of tries, not fifty."""
    sandbox.fail("connect", Fault.status(503))
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    async with fleet(auth) as clients:
        errors = await clients.send(50)

    assert sandbox.counters.connects == 4
    assert len({id(error) for error in errors}) == 50
    assert all(isinstance(error, TokenEndpointUnavailableError) for error in errors)
    assert all("503" in str(error) for error in errors)


@pytest.mark.report(55)
@pytest.mark.report(56)
@pytest.mark.parametrize("offset", [86_400.0, -86_400.0])
async def test_a_server_clock_a_day_off_costs_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, offset: float
) -> None:
    """With the server's clock a day ahead or behind, requests over time share one exchange."""
    sandbox.clock_offset = offset
    async with fleet(auth) as clients:
        for _ in range(5):
            assert await clients.send(10) == [200] * 10

    assert sandbox.counters.exchanges == 1
    # `Date` counts whole seconds.
    assert 880 < (auth.status().expires_in or 0) <= 901


@pytest.mark.report(24)
@pytest.mark.report(25)
def test_consecutive_runs_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, anyio_backend: tuple[str, Any]
) -> None:
    """An auth made outside any loop serves one loop after the other, contended each time."""

    async def send() -> None:
        async with fleet(auth) as clients:
            assert await clients.send(3) == [200] * 3

    for _ in range(3):
        anyio.run(send, backend=anyio_backend[0])
    sandbox.revoke()
    anyio.run(send, backend=anyio_backend[0])

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
