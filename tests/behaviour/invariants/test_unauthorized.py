"""Invariants 13 to 17: what a 401 does."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import AuthError, RenewalPolicy, TaxizerAuth, TaxizerClient, TokenState
from taxizer_async._core.policy import LONGEST_WAIT_FOR_REPLACEMENT
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.limits import HANG
from tests.support.raw_server import RawServer, answer, flood, hang, trickle

from .conftest import PATH, flow_of


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.behaviour.auth.conftest import FleetFactory


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


async def test_invariant_13_a_place_that_refuses_what_others_accept_costs_them_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Once its second token was refused, its 401s are handed back, and cause no renewal any more."""
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with fleet(auth) as clients:
        for _ in range(5):
            assert await clients.send(1) == [200]
            assert await clients.send(1, "/v1/sick") == [401]
        assert sandbox.counters.by_path["/v1/sick"] == 5 + 1
        sandbox.heal()
        assert await clients.send(1, "/v1/sick") == [200]
        sandbox.revoke()
        assert await clients.send(1, "/v1/sick") == [200]

    assert sandbox.counters.exchanges == 3


@pytest.mark.report(119)
async def test_invariant_14_a_refused_token_is_used_rather_than_none(
    sandbox: Sandbox, fleet: FleetFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the login fails, and that is remembered, others do not wait, and go on with the token."""
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", 10 * HANG)
    clock = ManualClock(autojump=True)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with fleet(auth) as clients:
        assert await clients.send(1) == [200]
        sandbox.fail("connect", Fault.status(503))
        sandbox.fail("refresh", Fault.status(503))
        (error,) = await clients.send(1, "/v1/sick")
        assert isinstance(error, AuthError)
        exchanges = sandbox.counters.exchanges
        sandbox.fail("/v1/gateway", Fault.status(503))
        # A gateway's answer, as one of the API's own would take the token for good.
        assert await clients.send(3, "/v1/gateway") == [503] * 3
        assert auth.status().state is TokenState.REFUSED
        clock.advance(30)
        with sandbox.hold("connect") as gate, anyio.fail_after(HANG):
            assert await clients.send(3) == [200] * 3
            await gate.wait_until_async(1)

    assert {entry.jwt_id for entry in sandbox.resource_log} == {1}
    assert sandbox.counters.exchanges == exchanges + 1


async def test_invariant_14_others_wait_10_s_at_most(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a refused token is being replaced others wait for the new one, but not for long."""
    assert LONGEST_WAIT_FOR_REPLACEMENT == 10
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", 0.3)
    sandbox.fail("/v1/sick", Fault.unauthorized(), times=1)
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        assert await clients.send(1) == [200]
        with sandbox.hold("refresh") as gate, anyio.fail_after(HANG):
            began = time.monotonic()
            tasks.start_soon(clients.send, 1, "/v1/sick")
            await gate.wait_until_async(1)
            assert await clients.send(3) == [200] * 3
            assert time.monotonic() - began >= 0.3

    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1, 1, 1, 1, 2]


async def test_invariant_14_others_wait_for_the_new_token(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Requests that come while a refused token is being replaced are sent with the new one."""
    async with fleet(auth) as clients:
        assert await clients.send(1) == [200]
        sandbox.revoke()
        sandbox.refresh_latency = 0.2
        answers: list[int | Exception] = []

        async def send() -> None:
            answers.extend(await clients.send(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await sandbox.wait_until_async(lambda counters: counters.refreshes == 1)
            assert await clients.send(5) == [200] * 5

    assert answers == [200]
    assert sandbox.counters.unauthorized == 1
    assert sandbox.counters.exchanges == 2


async def test_invariant_14_nobody_waits_once_a_later_request_was_accepted(
    sandbox: Sandbox, fleet: FleetFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to a request that was sent after the refused one lets all go on with the token."""
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", 10 * HANG)
    policy = RenewalPolicy(attempt_timeout=10 * HANG, exchange_timeout=10 * HANG)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        assert await clients.send(1) == [200]
        answers: list[int | Exception] = []

        async def send(path: str) -> None:
            answers.extend(await clients.send(1, path))

        with sandbox.hold("refresh") as refresh, anyio.fail_after(HANG):
            with sandbox.hold("/v1/later") as later:
                with sandbox.hold("/v1/sick") as sick:
                    tasks.start_soon(send, "/v1/sick")
                    await sick.wait_until_async(1)
                    tasks.start_soon(send, "/v1/later")
                    await later.wait_until_async(1)
                await refresh.wait_until_async(1)
                for _ in range(3):
                    tasks.start_soon(send, "/v1/waiting")
                await anyio.wait_all_tasks_blocked()
                assert "/v1/waiting" not in sandbox.counters.by_path
            await sandbox.wait_until_async(lambda counters: counters.resources_ok == 5)

    assert sorted(answers) == [200, 200, 200, 200, 401]  # type: ignore[type-var]
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(123)
@pytest.mark.parametrize("ending", [trickle, flood, hang])
async def test_invariant_15_a_body_without_an_end_is_left(
    sandbox: Sandbox, fleet: FleetFactory, ending: Any
) -> None:
    """Bytes and time are bounded, and the renewal and the resend follow."""
    head = b"HTTP/1.1 401 No\r\nContent-Encoding: gzip\r\n\r\nno"
    with RawServer((head, ending), (answer(b"", "Connection: close"),)) as server:
        auth = TaxizerAuth(
            sandbox.credentials, base_url=sandbox.base_url, extra_origins=[server.base_url]
        )
        async with fleet(auth, connections=1) as clients:
            with anyio.fail_after(HANG):
                assert await clients.send(1, f"{server.base_url}/v1/x") == [200]
        assert server.flooded < 32 * 1024 * 1024
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(121)
async def test_invariant_16_the_refused_hop_is_sent_again_and_no_other(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A POST that was answered by a redirect is not sent again when its target answers 401."""
    sandbox.fail(PATH, Fault.status(303, headers={"Location": "/v1/result"}))
    sandbox.fail("/v1/result", Fault.unauthorized(), times=1)
    async with httpx.AsyncClient(
        auth=auth, base_url=sandbox.base_url, follow_redirects=True
    ) as client:
        response = await client.post(PATH, content=b"invoice")

    sent = [(entry.method, entry.path, entry.jwt_id) for entry in sandbox.resource_log]
    assert sent == [("POST", PATH, 1), ("GET", "/v1/result", 1), ("GET", "/v1/result", 2)]
    assert response.status_code == 200
    assert [each.status_code for each in response.history] == [303, 401]


@pytest.mark.report(122)
async def test_invariant_16_a_hook_that_raises_hides_no_401(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """With our client nobody hears of a 401 that is cured, with a plain one the next is well."""

    async def raise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    hooks: dict[str, list[Any]] = {"response": [raise_for_status]}
    for client in (
        TaxizerClient(sandbox.credentials, base_url=sandbox.base_url, event_hooks=hooks),
        httpx.AsyncClient(auth=auth, base_url=sandbox.base_url, event_hooks=hooks),
    ):
        async with client:
            await client.post(PATH)
            sandbox.revoke()
            if not isinstance(client, TaxizerClient):
                with pytest.raises(httpx.HTTPStatusError):
                    await client.post(PATH)
            assert (await client.post(PATH)).status_code == 200


@pytest.mark.report(118)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["sent-again", "streamed"])
async def test_invariant_17_only_real_revocations_use_the_budget_up(
    sandbox: Sandbox,
    is_streamed: bool,  # noqa: FBT001
) -> None:
    """A renewal that turns out to be a sick place's fault leaves the budget to three revocations."""
    clock = ManualClock()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await _see_one_place_refuse(client, is_streamed=is_streamed)
        for _ in range(3):
            sandbox.revoke()
            assert (await client.post(PATH)).status_code == 200
            clock.advance(1)

    assert sandbox.counters.exchanges == 2 + 3


@pytest.mark.parametrize("is_streamed", [False, True], ids=["sent-again", "streamed"])
async def test_invariant_13_a_place_that_refuses_is_remembered(
    sandbox: Sandbox,
    is_streamed: bool,  # noqa: FBT001
) -> None:
    """However long ago that was: its 401s cause no renewal while others accept the token."""
    clock = ManualClock()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await _see_one_place_refuse(client, is_streamed=is_streamed)
        for _ in range(5):
            clock.advance(60)
            assert (await client.post("/v1/sick")).status_code == 401
            assert (await client.post(PATH)).status_code == 200

    assert sandbox.counters.exchanges == 2


async def _see_one_place_refuse(client: httpx.AsyncClient, *, is_streamed: bool) -> None:
    """Have one place refuse two tokens that another accepts: the second is accepted first if *is_streamed*."""

    async def body() -> AsyncIterator[bytes]:
        yield b"invoice"

    for _ in range(2):
        assert (await client.post(PATH)).status_code == 200
        content = body() if is_streamed else b"invoice"
        assert (await client.post("/v1/sick", content=content)).status_code == 401
    assert (await client.post(PATH)).status_code == 200
