"""What a 401 says of a token and of the place that answers it, and what others wait for meanwhile."""

from __future__ import annotations

import time

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from taxizer_async import AuthError, RenewalPolicy, TaxizerAuth, TokenState
from taxizer_async._core.policy import LONGEST_WAIT_FOR_REPLACEMENT
from taxizer_async.testing import Fault, ManualClock, Sandbox, token_response
from tests.support.callers import PATH, FleetFactory, auth_of, client_of
from tests.support.limits import HANG
from tests.support.refreshes import backdate


@pytest.mark.invariant(13)
async def test_a_server_that_issues_the_refused_token_again_is_asked_once(sandbox: Sandbox) -> None:
    """A renewal that brings the refused JWT again is made once, and the 401 is handed back."""
    issued: list[str] = []

    def issue(request: httpx.Request) -> httpx.Response:
        issued.append(request.url.path)
        return httpx.Response(200, json=token_response())

    auth = auth_of(
        sandbox, http_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(issue))
    )
    sandbox.fail(PATH, Fault.unauthorized())
    async with client_of(auth) as client:
        await auth.token()
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 401

    assert len(issued) == 2


@pytest.mark.invariant(16)
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


@pytest.mark.invariant(21)
@pytest.mark.report(39)
async def test_a_refusal_of_everything_ends(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """With both token endpoints answering 401 for ever, five requests cost one refresh and one login."""
    await auth.token()
    sandbox.revoke()
    sandbox.fail("refresh", Fault.status(401))
    sandbox.fail("connect", Fault.status(401))
    sandbox.reset_counters()
    async with client_of(auth) as client:
        for _ in range(5):
            with pytest.raises(Exception, match="rejected the credentials"):
                await client.post(PATH)

    assert sandbox.counters.exchanges <= 2


async def _see_one_place_refuse(client: httpx.AsyncClient, *, is_streamed: bool) -> None:
    """Have one place refuse two tokens that another accepts; a streamed request is not sent again at once."""

    async def body() -> AsyncIterator[bytes]:
        yield b"invoice"

    for _ in range(2):
        assert (await client.post(PATH)).status_code == 200
        content = body() if is_streamed else b"invoice"
        assert (await client.post("/v1/sick", content=content)).status_code == 401
    assert (await client.post(PATH)).status_code == 200


@pytest.mark.invariant(13)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["sent-again", "streamed"])
async def test_a_place_that_refuses_is_remembered(sandbox: Sandbox, is_streamed: bool) -> None:
    """However long ago a place refused what others accept, its 401s cause no renewal."""
    clock = ManualClock()
    auth = auth_of(sandbox, clock=clock)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with client_of(auth) as client:
        await _see_one_place_refuse(client, is_streamed=is_streamed)
        for _ in range(5):
            clock.advance(60)
            assert (await client.post("/v1/sick")).status_code == 401
            assert (await client.post(PATH)).status_code == 200

    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(17)
@pytest.mark.report(118)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["sent-again", "streamed"])
async def test_only_real_revocations_use_the_budget_up(sandbox: Sandbox, is_streamed: bool) -> None:
    """A renewal for a place that refuses every token leaves the whole budget to revocations."""
    clock = ManualClock()
    auth = auth_of(sandbox, clock=clock)
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with client_of(auth) as client:
        await _see_one_place_refuse(client, is_streamed=is_streamed)
        for _ in range(3):
            sandbox.revoke()
            assert (await client.post(PATH)).status_code == 200
            clock.advance(1)

    assert sandbox.counters.exchanges == 2 + 3


@pytest.mark.invariant(14)
@pytest.mark.report(119)
async def test_a_refused_token_is_used_rather_than_none(
    sandbox: Sandbox, fleet: FleetFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a failed login is remembered others send the refused token without waiting."""
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", 10 * HANG)
    clock = ManualClock(autojump=True)
    auth = auth_of(sandbox, clock=clock)
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


@pytest.mark.invariant(14)
@pytest.mark.parametrize(("longest", "age"), [(0.3, 0.0), (HANG, HANG)], ids=["begun", "over"])
async def test_others_wait_10_s_at_most(
    sandbox: Sandbox,
    auth: TaxizerAuth,
    fleet: FleetFactory,
    monkeypatch: pytest.MonkeyPatch,
    longest: float,
    age: float,
) -> None:
    """Requests wait for the replacement of a refused token until it has taken 10 s, and then use it."""
    assert LONGEST_WAIT_FOR_REPLACEMENT == 10
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", longest)
    sandbox.fail("/v1/sick", Fault.unauthorized(), times=1)
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        assert await clients.send(1) == [200]
        with sandbox.hold("refresh") as gate, anyio.fail_after(HANG):
            began = time.monotonic()
            tasks.start_soon(clients.send, 1, "/v1/sick")
            await gate.wait_until_async(1)
            backdate(auth, age)
            assert await clients.send(3) == [200] * 3
            assert time.monotonic() - began >= longest - age

    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1, 1, 1, 1, 2]


@pytest.mark.invariant(14)
async def test_others_wait_for_the_new_token(
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


@pytest.mark.invariant(14)
async def test_nobody_waits_once_a_later_request_was_accepted(
    sandbox: Sandbox, fleet: FleetFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting requests go on once a request that was sent after the refused one is accepted."""
    monkeypatch.setattr("taxizer_async._token.provider.LONGEST_WAIT_FOR_REPLACEMENT", 10 * HANG)
    policy = RenewalPolicy(attempt_timeout=10 * HANG, exchange_timeout=10 * HANG)
    auth = auth_of(sandbox, policy=policy)
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
