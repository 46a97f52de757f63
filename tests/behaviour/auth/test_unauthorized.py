"""What a 401 does, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Fault, ManualClock, token_response
from tests.support.limits import HANG


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.behaviour.auth.conftest import FleetFactory


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


async def test_a_server_that_issues_the_refused_token_again_is_asked_once(
    sandbox: Sandbox,
) -> None:
    """The 401 is handed back: the same JWT would be refused again, however often it was issued."""
    issued: list[str] = []

    def issue(request: httpx.Request) -> httpx.Response:
        issued.append(request.url.path)
        return httpx.Response(200, json=token_response())

    auth = TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        http_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(issue)),
    )
    sandbox.fail(PATH, Fault.unauthorized())
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await auth.token()
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 401

    assert len(issued) == 2


async def test_an_endless_answer_starves_nobody(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """While one answer streams for ever, other requests come and go, even through a renewal."""
    async with (
        httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client,
        client.stream("POST", "/v1/stream") as endless,
    ):
        assert endless.status_code == 200
        sandbox.revoke()
        with anyio.fail_after(HANG):
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
