"""One login for all who share an auth object, over real sockets."""

from __future__ import annotations

import threading

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from taxizer_async import (
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.behaviour.auth.conftest import FleetFactory


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


@pytest.mark.report(21)
async def test_waiters_share_a_failed_login(sandbox: Sandbox, fleet: FleetFactory) -> None:
    """Fifty waiters for a login that fails make one round of attempts, not fifty."""
    sandbox.fail("connect", Fault.status(503))
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, policy=RenewalPolicy(backoff=60.0)
    )
    async with fleet(auth) as clients:
        errors = await clients.send(50)

    assert sandbox.counters.connects == 1
    assert len({id(error) for error in errors}) == 50
    assert all(isinstance(error, TokenEndpointUnavailableError) for error in errors)
    assert all("503" in str(error) for error in errors)


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
