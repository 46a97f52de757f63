"""What a place that refuses the token costs the others, on each stack."""

from __future__ import annotations

import gzip
import json

import anyio
import pytest

from taxizer_async import AuthError, Event, TokenRefused
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH
from tests.support.limits import HANG
from tests.support.policies import ONE_TRY
from tests.support.raw_server import RawServer, Script, answer, flood, hang, reset, trickle

from .conftest import async_only, send_all
from .stacks import Auth, Reply, Sender, Stack


SICK = "/v1/Reports/Mine"


@pytest.mark.invariant(13)
@pytest.mark.report(118)
async def test_a_place_that_always_refuses_costs_the_others_nothing(
    sandbox: Sandbox, sender: Sender
) -> None:
    """A place that always answers 401 causes one renewal at most, and other requests succeed."""
    sandbox.fail(SICK, Fault.unauthorized())
    sandbox.refresh_latency = 0.05
    await sender.send("POST", PATH)
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, "GET", SICK)
            assert await send_all(sender, 5) == [200] * 5
    exchanges = sandbox.counters.exchanges
    for _ in range(2):
        sandbox.revoke()
        assert await send_all(sender, 5) == [200] * 5
        assert (await sender.send("GET", SICK)).status == 401

    # None, if others were heard of before the renewal began.
    assert exchanges <= 2
    assert sandbox.counters.exchanges == exchanges + 2


@pytest.mark.invariant(14)
@pytest.mark.report(119)
async def test_a_401_during_an_outage_of_the_login_fails_nobody_else(
    sandbox: Sandbox, stack: Stack
) -> None:
    """With the token endpoints down and one 401, all other requests go on with their token."""
    auth = stack.make_auth(sandbox, policy=ONE_TRY)
    async with stack.open(auth) as sender:
        await sender.send("POST", PATH)
        sandbox.fail("connect", Fault.status(503))
        sandbox.fail("refresh", Fault.status(503))
        sandbox.fail(SICK, Fault.unauthorized(), times=1)
        failures: list[AuthError] = []

        async def be_refused() -> None:
            try:
                await sender.send("GET", SICK)
            except AuthError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(be_refused)
            await sandbox.wait_until_async(lambda counters: counters.exchanges > 1)
            assert await send_all(sender, 10) == [200] * 10
        assert await send_all(sender, 10) == [200] * 10
        exchanges = sandbox.counters.exchanges
        sandbox.heal()
        assert await send_all(sender, 10) == [200] * 10

    assert [error.retryable for error in failures] == [True]
    assert sandbox.counters.exchanges == exchanges


@pytest.mark.invariant(13)
@pytest.mark.report(120)
async def test_a_refusal_is_told_once_per_token(
    sandbox: Sandbox, auth: Auth, events: list[Event], sender: Sender
) -> None:
    """Forty requests to a place that always answers 401 cause two events: one for each token."""
    sandbox.fail(SICK, Fault.unauthorized())
    await sender.send("POST", PATH)
    for _ in range(40):
        assert (await sender.send("GET", SICK)).status == 401
        await sender.send("POST", PATH)
    await auth.events_delivered()

    refusals = [event for event in events if isinstance(event, TokenRefused)]
    assert [refusal.renewing for refusal in refusals] == [True, False]
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(13)
async def test_an_answer_of_a_gateway_does_not_vouch_for_a_token(
    sandbox: Sandbox, stack: Stack
) -> None:
    """A 503 or 429 does not show that a token is good: a revoked one is renewed all the same."""
    clock = ManualClock(autojump=True)
    auth = stack.make_auth(sandbox, clock=clock)
    async with stack.open(auth) as sender:
        await sender.send("POST", PATH)
        sandbox.revoke()
        sandbox.fail("connect", Fault.status(503))
        sandbox.fail("refresh", Fault.status(503))
        with pytest.raises(AuthError):
            await sender.send("POST", PATH)
        for status in (503, 429):
            sandbox.fail("/v1/gateway", Fault.status(status))
            assert (await sender.send("GET", "/v1/gateway")).status == status
            assert auth.status().state.value == "refused"
        sandbox.heal()
        clock.advance(30)
        assert (await sender.send("POST", PATH)).status == 200


@pytest.mark.invariant(15)
@async_only
async def test_a_401_that_no_other_token_would_cure_keeps_its_body(
    sandbox: Sandbox, stack: Stack
) -> None:
    """If the login fails, but the token turns out to be good, the 401 comes back as it was."""
    auth = stack.make_auth(sandbox, policy=ONE_TRY)
    replies: list[Reply] = []

    async def send(path: str) -> None:
        replies.append(await sender.send("GET", path))

    async with stack.open(auth) as sender, anyio.create_task_group() as tasks:
        await sender.send("POST", PATH)
        sandbox.fail("connect", Fault.status(503))
        sandbox.fail("refresh", Fault.status(503))
        sandbox.fail(SICK, Fault.unauthorized(), times=1)
        with sandbox.hold("refresh") as refresh, anyio.fail_after(HANG):
            with sandbox.hold("/v1/later") as later:
                with sandbox.hold(SICK) as sick:
                    tasks.start_soon(send, SICK)
                    await sick.wait_until_async(1)
                    tasks.start_soon(send, "/v1/later")
                    await later.wait_until_async(1)
                await refresh.wait_until_async(1)
            await sandbox.wait_until_async(lambda counters: counters.resources_ok == 2)

    assert sorted(reply.status for reply in replies) == [200, 401]
    (refused,) = (reply for reply in replies if reply.status == 401)
    assert json.loads(refused.body)["title"] == "Unauthorized"
    assert auth.status().usable


PACKED = gzip.compress(b"no" * 10_000)


@pytest.mark.invariant(15)
@pytest.mark.report(123)
@pytest.mark.parametrize(
    "script",
    [
        (answer(b"not packed", "Content-Encoding: gzip", status="401 No"),),
        (answer(PACKED[:30], "Content-Encoding: gzip", status="401 No"),),
        (b"HTTP/1.1 401 No\r\n\r\n", flood),
        (b"HTTP/1.1 401 No\r\n\r\n", trickle),
        (b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nabc", hang),
        (b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nabc", reset),
        (b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nabc",),
    ],
    ids=["no-gzip", "half-gzip", "endless", "trickling", "hanging", "reset", "cut"],
)
async def test_the_body_of_a_401_does_not_matter(
    sandbox: Sandbox, stack: Stack, script: Script
) -> None:
    """Whatever the body of a 401 is, the token is renewed and the request sent again, over one connection."""
    with RawServer(script, (answer(b"fine", "Connection: close"),)) as server:
        auth = stack.make_auth(sandbox, extra_origins=[server.base_url])
        async with stack.open(auth, connections=1) as sender:
            with anyio.fail_after(HANG):
                reply = await sender.send("POST", f"{server.base_url}/v1/x", json={})

        assert (reply.status, reply.body) == (200, b"fine")
        assert len(server.requests) == 2
        # What a socket's buffers hold is more than what is read.
        assert server.flooded < 32 * 1024 * 1024
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
