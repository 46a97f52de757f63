"""What a 401 does, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Fault, ManualClock


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.auth.conftest import FleetFactory


PATH = "/v1/Invoices/GenerateInvoice"


@pytest.mark.report(4)
@pytest.mark.report(18)
@pytest.mark.report(29)
async def test_requests_in_flight_survive_a_revocation(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Fifty requests that are in flight when the token is revoked succeed with one renewal."""
    await auth.token()
    sandbox.refresh_latency = 0.1
    answers: list[int | Exception] = []
    async with fleet(auth, connections=50) as clients, anyio.create_task_group() as tasks:
        with sandbox.hold(PATH) as gate:

            async def send() -> None:
                answers.extend(await clients.send(50, PATH))

            tasks.start_soon(send)
            await gate.wait_until_async(50)
            sandbox.revoke()

    assert answers == [200] * 50
    assert sandbox.counters.unauthorized == 50
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(40)
async def test_an_api_that_always_answers_401_is_not_flooded(
    sandbox: Sandbox, fleet: FleetFactory
) -> None:
    """In 10 s of requests that are all answered 401 there are at most 6 exchanges."""
    clock = ManualClock()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    sandbox.fail("resource", Fault.unauthorized())
    async with fleet(auth) as clients:
        for _ in range(50):
            assert await clients.send(2) == [401, 401]
            clock.advance(0.2)

    assert 2 <= sandbox.counters.exchanges <= 6
    # One resend at most for each request.
    assert sandbox.counters.resources <= 200


@pytest.mark.report(40)
async def test_one_endpoint_that_always_answers_401_is_not_flooded(
    sandbox: Sandbox, fleet: FleetFactory
) -> None:
    """One endpoint that answers 401 for ever among others that work causes at most 6 exchanges."""
    clock = ManualClock()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    sandbox.fail(PATH, Fault.unauthorized())
    async with fleet(auth) as clients:
        for _ in range(50):
            assert await clients.send(1) == [200]
            assert await clients.send(1, PATH) == [401]
            assert await clients.send(1) == [200]
            clock.advance(0.2)

    assert 2 <= sandbox.counters.exchanges <= 6


async def test_the_budget_of_renewals_comes_back(sandbox: Sandbox, fleet: FleetFactory) -> None:
    """Three renewals in 30 s are caused by 401s, the fourth 401 is handed back, a later one is not."""
    clock = ManualClock()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    async with fleet(auth) as clients:
        for _ in range(3):
            assert await clients.send(1) == [200]
            sandbox.revoke()
        assert await clients.send(1) == [200]
        sandbox.revoke()
        assert await clients.send(1) == [401]
        clock.advance(30)
        assert await clients.send(1) == [200]

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 4)


@pytest.mark.report(18)
async def test_a_late_401_for_an_old_token_costs_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A 401 that arrives after the token was replaced is answered with the new one."""
    await auth.token()
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        answers: list[int | Exception] = []
        with sandbox.hold(PATH) as gate:

            async def send_slowly() -> None:
                answers.extend(await clients.send(1, PATH))

            tasks.start_soon(send_slowly)
            await gate.wait_until_async(1)
            sandbox.revoke()
            assert await clients.send(1) == [200]
            assert sandbox.counters.exchanges == 2

    assert answers == [200]
    assert sandbox.counters.exchanges == 2


async def test_a_pool_of_one_connection_is_enough(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Ten concurrent 401s over a pool of one connection all end well."""
    await auth.token()
    sandbox.revoke()
    async with fleet(auth, connections=1) as clients:
        with anyio.fail_after(10):
            answers = await clients.send(10)

    assert answers == [200] * 10
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_insufficient_scope_and_403_renew_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A 403, or a 401 that is about rights, is handed back as it is."""
    sandbox.fail(PATH, Fault.unauthorized('Bearer error="insufficient_scope"'), times=1)
    sandbox.fail("/v1/Devices/Register", Fault.status(403), times=1)
    async with fleet(auth) as clients:
        assert await clients.send(1, PATH) == [401]
        assert await clients.send(1) == [403]
        assert await clients.send(1) == [200]

    assert sandbox.counters.exchanges == 1


async def test_an_endless_answer_starves_nobody(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """While one answer streams for ever, other requests come and go, even through a renewal."""
    async with (
        httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client,
        client.stream("POST", "/v1/stream") as endless,
    ):
        assert endless.status_code == 200
        sandbox.revoke()
        with anyio.fail_after(5):
            assert (await client.post(PATH)).status_code == 200


async def test_a_resend_that_meets_a_second_revocation_goes_again(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A hundred requests that queue for five connections survive two revocations."""
    sandbox.resource_latency = 0.05
    async with fleet(auth, connections=5) as clients, anyio.create_task_group() as tasks:
        answers: list[int | Exception] = []

        async def send() -> None:
            answers.extend(await clients.send(100))

        tasks.start_soon(send)
        for answered in (20, 50):
            await sandbox.wait_until_async(lambda counters: counters.resources_ok >= answered)  # noqa: B023
            sandbox.revoke()

    assert answers == [200] * 100
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 2)


@pytest.mark.report(40)
async def test_a_fresh_token_that_never_works_is_tried_once(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """If the API refuses each new token, a request is sent twice and no more."""
    sandbox.fail("resource", Fault.unauthorized())
    async with fleet(auth) as clients:
        assert await clients.send(1) == [401]

    assert sandbox.counters.resources == 2
    assert sandbox.counters.exchanges == 2
