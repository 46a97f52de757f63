"""What a 401 does, on each stack."""

from __future__ import annotations

import json

import anyio
import pytest

from taxizer_async import Event, TokenRefused
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH
from tests.support.limits import HANG
from tests.support.onlooker import Onlooker
from tests.support.policies import PATIENT

from .conftest import async_only, send_all
from .stacks import Auth, Reply, Sender, Stack


@pytest.mark.invariant(16)
async def test_a_401_costs_one_renewal_and_one_resend(sandbox: Sandbox, sender: Sender) -> None:
    """A revoked token is renewed once, and the request sent again with the new one."""
    await sender.send("GET", PATH)
    sandbox.revoke()
    assert (await sender.send("GET", PATH)).status == 200

    assert [(entry.status, entry.jwt_id) for entry in sandbox.resource_log] == [
        (200, 1),
        (401, 1),
        (200, 2),
    ]
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(16)
@pytest.mark.report(20)
async def test_the_token_is_carried_once_in_place_of_the_users_header(
    sandbox: Sandbox, stack: Stack, onlooker: Onlooker
) -> None:
    """The first request and those sent again have one Authorization header each, built anew."""
    onlooker.status = 401
    auth = stack.make_auth(sandbox, extra_origins=[onlooker.url])
    async with stack.open(auth) as sender:
        reply = await sender.send(
            "GET", f"{onlooker.url}/v1/x", headers={"authorization": "Basic bWluZQ=="}
        )

    assert reply.status == 401
    assert len(sandbox.issued_jwts) == 3
    assert onlooker.authorizations() == [[f"Bearer {jwt}"] for jwt in sandbox.issued_jwts]


@pytest.mark.invariant(3)
@pytest.mark.report(4, 18, 29)
async def test_requests_in_flight_survive_a_revocation(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """Fifty requests that are in flight when the token is revoked succeed with one renewal."""
    await auth.token()
    sandbox.refresh_latency = 0.1
    answers: list[int] = []

    async def send() -> None:
        answers.extend(await send_all(sender, 50))

    async with stack.open(auth, connections=50) as sender, anyio.create_task_group() as tasks:
        with sandbox.hold(PATH) as gate:
            tasks.start_soon(send)
            await gate.wait_until_async(50)
            sandbox.revoke()

    assert answers == [200] * 50
    assert sandbox.counters.unauthorized == 50
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(17)
@pytest.mark.report(40)
async def test_an_api_that_always_answers_401_is_not_flooded(
    sandbox: Sandbox, stack: Stack, aging_auth: Auth, clock: ManualClock
) -> None:
    """In 10 s of requests there are at most 6 exchanges, and each 401 comes back with its body."""
    sandbox.fail("resource", Fault.unauthorized())
    replies: list[Reply] = []
    async with stack.open(aging_auth) as sender:
        for _ in range(50):
            replies.append(await sender.send("POST", PATH, json={}))
            clock.advance(0.2)

    assert {reply.status for reply in replies} == {401}
    assert {json.loads(reply.body)["title"] for reply in replies} == {"Unauthorized"}
    assert 2 <= sandbox.counters.exchanges <= 6
    assert sandbox.counters.resources <= 100


@pytest.mark.invariant(16)
@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_other_failures_are_the_users(sandbox: Sandbox, status: int, sender: Sender) -> None:
    """All but a 401 is handed back as it is, and nothing renewed."""
    sandbox.fail("resource", Fault.status(status, body="why"))
    reply = await sender.send("GET", PATH)

    assert (reply.status, reply.body) == (status, b"why")
    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (1, 1)


@pytest.mark.invariant(16)
async def test_a_401_for_lack_of_scope_renews_nothing(sandbox: Sandbox, sender: Sender) -> None:
    """A challenge that is about rights is handed back: a new token would lack them as well."""
    sandbox.fail("resource", Fault.unauthorized('Bearer error="insufficient_scope"'))
    reply = await sender.send("GET", PATH)

    assert reply.status == 401
    assert "insufficient_scope" in reply.headers["www-authenticate"]
    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (1, 1)


@pytest.mark.invariant(16)
@pytest.mark.parametrize("challenge", ["", 'Digest realm="x", qop="auth,au', "Token ..."])
async def test_a_401_is_renewed_whatever_its_challenge_is(
    sandbox: Sandbox, challenge: str, sender: Sender
) -> None:
    """A 401 without a challenge, or with one that is malformed or of another scheme, is one like any other."""
    sandbox.fail(PATH, Fault.unauthorized(challenge), times=1)
    assert (await sender.send("POST", PATH)).status == 200

    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 2]


@pytest.mark.invariant(16)
async def test_a_challenge_alone_renews_nothing(sandbox: Sandbox, sender: Sender) -> None:
    """An answer with a challenge that is no 401 is handed back as it is."""
    sandbox.fail(PATH, Fault.status(200, headers={"WWW-Authenticate": "Bearer"}, body="fine"))
    reply = await sender.send("GET", PATH)

    assert (reply.status, reply.body) == (200, b"fine")
    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (1, 1)


@pytest.mark.invariant(13)
@pytest.mark.report(18)
async def test_a_late_401_for_an_old_token_costs_nothing(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """A 401 that arrives after the token was replaced is answered with the new one."""
    await auth.token()
    answers: list[int] = []

    async def send_slowly() -> None:
        answers.extend(await send_all(sender, 1))

    async with stack.open(auth) as sender, anyio.create_task_group() as tasks:
        with sandbox.hold(PATH) as gate:
            tasks.start_soon(send_slowly)
            await gate.wait_until_async(1)
            sandbox.revoke()
            assert await send_all(sender, 1, "/v1/other") == [200]
            assert sandbox.counters.exchanges == 2

    assert answers == [200]
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(15)
@pytest.mark.report(96)
async def test_a_pool_of_one_connection_is_enough(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """Ten concurrent 401s over a single connection all end well."""
    await auth.token()
    sandbox.revoke()
    async with stack.open(auth, connections=1) as sender:
        with anyio.fail_after(HANG):
            assert await send_all(sender, 10) == [200] * 10

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_a_401_with_a_long_body_is_read_to_its_end(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """The long body of a 401 is read, so that its connection is free again."""
    async with stack.open(auth, connections=1) as sender:
        await sender.send("GET", PATH)
        sandbox.fail(PATH, Fault.status(401, body="x" * 2_000_000), times=1)
        with anyio.fail_after(HANG):
            assert (await sender.send("GET", PATH)).status == 200

    assert sandbox.counters.refreshes == 1


@pytest.mark.invariant(15)
@pytest.mark.report(96, 10, 11)
@async_only
async def test_a_401_is_read_before_a_hook_is_waited_for(sandbox: Sandbox, stack: Stack) -> None:
    """A hook that sends a request of its own is not starved by the 401 that it hears of."""
    statuses: list[int] = []

    async def call_back(event: Event) -> None:
        if isinstance(event, TokenRefused):
            with anyio.fail_after(HANG):
                statuses.append((await sender.send("GET", "/v1/callback")).status)

    auth = stack.make_auth(sandbox, policy=PATIENT, on_event=call_back)
    async with stack.open(auth, connections=1) as sender:
        await sender.send("GET", PATH)
        sandbox.revoke()
        assert (await sender.send("GET", PATH)).status == 200
        await auth.events_delivered()

    assert statuses == [200]
