"""Invariants 13 to 17: what a 401 does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.limits import HANG

from .conftest import PATH, flow_of


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.auth.conftest import FleetFactory


@pytest.mark.report(96)
async def test_invariant_15_a_401_is_read_before_anything_is_waited_for(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """The body of a 401 is consumed before the renewal starts, so that its connection is free."""
    flow = flow_of(auth)
    sent = await flow.__anext__()
    read_at: list[int] = []

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            read_at.append(sandbox.counters.refreshes)
            yield b"no"

    await flow.asend(httpx.Response(401, request=sent, stream=Body()))
    await flow.aclose()

    assert read_at == [0]
    assert sandbox.counters.refreshes == 1


async def test_invariant_15_a_pool_of_one_connection_is_enough(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Ten concurrent 401s over a pool of one connection all end well."""
    await auth.token()
    sandbox.revoke()
    async with fleet(auth, connections=1) as clients:
        with anyio.fail_after(HANG):
            answers = await clients.send(10)

    assert answers == [200] * 10
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(18)
async def test_invariant_13_a_late_401_for_an_old_token_costs_nothing(
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


async def test_invariant_13_a_401_to_a_request_without_the_token_is_not_about_it(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """The 401 of another server, which a redirect leads to, costs nothing."""
    with Sandbox() as other:
        sandbox.fail(PATH, Fault.status(307, headers={"Location": f"{other.base_url}{PATH}"}))
        async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
            assert (await client.post(sandbox.base_url + PATH)).status_code == 401
        assert [entry.jwt_id for entry in other.resource_log] == [None]

    assert auth.status().usable
    assert sandbox.counters.exchanges == 1


@pytest.mark.report(20)
async def test_invariant_16_the_second_try_carries_another_header(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """After a 401 the header is built anew, from the new token."""
    flow = flow_of(auth)
    first = (await flow.__anext__()).headers["Authorization"]
    refused = httpx.Response(401, request=httpx.Request("POST", sandbox.base_url + PATH))
    refused.request.headers["Authorization"] = first
    again = await flow.asend(refused)
    second = again.headers["Authorization"]
    with pytest.raises(StopAsyncIteration):
        await flow.asend(httpx.Response(200, request=again))

    assert first != second
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_invariant_16_a_consumed_stream_gets_its_401_back(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A body that can't be sent again is sent once, and the next request has a new token."""

    async def body() -> AsyncIterator[bytes]:
        yield b"invoice"

    await auth.token()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH, content=body())).status_code == 401
        assert (await client.post(PATH, content=body())).status_code == 200

    assert [entry.body for entry in sandbox.resource_log] == [b"invoice"] * 2
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 2]


async def test_invariant_16_a_body_in_memory_is_sent_once_more(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """After a renewal the request is sent again, whole: once by a refresh, and if that fails by a login."""
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await client.post(PATH)
        sandbox.revoke()
        assert (await client.post(PATH, content=b"invoice")).status_code == 200
        sandbox.fail(PATH, Fault.unauthorized())
        assert (await client.post(PATH, content=b"invoice")).status_code == 401

    sent = [(entry.status, entry.body) for entry in sandbox.resource_log[1:]]
    assert sent == [(status, b"invoice") for status in (401, 200, 401, 401, 401)]


async def test_invariant_16_insufficient_scope_and_403_renew_nothing(
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


async def test_invariant_17_the_budget_of_renewals_comes_back(
    sandbox: Sandbox, fleet: FleetFactory
) -> None:
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


@pytest.mark.report(40)
async def test_invariant_17_fresh_tokens_that_never_work_are_tried_twice(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """If the API refuses each new token, that of a refresh and that of a login are tried, and no more."""
    sandbox.fail("resource", Fault.unauthorized())
    async with fleet(auth) as clients:
        assert await clients.send(1) == [401]
        assert sandbox.counters.resources == 3
        assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
        assert await clients.send(1) == [401]

    assert sandbox.counters.exchanges == 3
