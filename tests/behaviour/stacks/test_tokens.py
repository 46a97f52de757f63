"""How a token is had, shared and renewed, on each stack."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import PATH, gather
from tests.support.limits import HANG
from tests.support.policies import DUE, PRESSING
from tests.support.refreshes import settle

from .conftest import send_all
from .stacks import AIOHTTP, HTTPX, Auth, Stack


async def test_nothing_is_asked_before_the_first_request(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """To open a client and to close it costs no login; the first request costs one."""
    async with stack.open(auth):
        pass
    assert sandbox.counters.exchanges == 0

    async with stack.open(auth) as sender:
        assert (await sender.send("GET", PATH)).status == 200
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(3)
async def test_cold_requests_share_one_login(sandbox: Sandbox, stack: Stack, auth: Auth) -> None:
    """Fifty requests at once of which none finds a token cause one login."""
    sandbox.connect_latency = 0.1
    async with stack.open(auth, connections=50) as sender:
        assert await send_all(sender, 50) == [200] * 50

    assert sandbox.counters.connects == 1
    assert {entry.jwt_id for entry in sandbox.resource_log} == {1}


@pytest.mark.invariant(7)
@pytest.mark.report(103)
async def test_ahead_of_need_all_requests_go_on(
    sandbox: Sandbox, stack: Stack, aging_auth: Auth, clock: ManualClock
) -> None:
    """While the refresh is under way requests are answered with the old token, the first one, too."""
    async with stack.open(aging_auth) as sender:
        await sender.send("GET", PATH)
        clock.advance(DUE)
        with sandbox.hold("refresh") as gate:
            with anyio.fail_after(HANG):
                await sender.send("GET", PATH)
                await gate.wait_until_async(1)
                assert await send_all(sender, 5) == [200] * 5
            assert [entry.jwt_id for entry in sandbox.resource_log] == [1] * 7
        await settle(aging_auth._bearer.provider)
        await sender.send("GET", PATH)

    assert sandbox.resource_log[-1].jwt_id == 2
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(8)
@pytest.mark.report(13)
async def test_of_need_all_wait_for_the_new_token(
    sandbox: Sandbox, stack: Stack, aging_auth: Auth, clock: ManualClock
) -> None:
    """With the token about to end nothing is sent until the one refresh is done."""
    async with stack.open(aging_auth) as sender:
        await sender.send("GET", PATH)
        clock.advance(PRESSING)
        with sandbox.hold("refresh") as gate:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_all, sender, 10)
                await gate.wait_until_async(1)
                assert sandbox.counters.resources == 1
                gate.release()

    assert [entry.jwt_id for entry in sandbox.resource_log] == [1] + [2] * 10
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(11)
async def test_a_dead_token_is_replaced_before_anything_is_sent(
    sandbox: Sandbox, stack: Stack, aging_auth: Auth, clock: ManualClock
) -> None:
    """A client that slept past the token's end sends no dead one."""
    async with stack.open(aging_auth) as sender:
        await sender.send("GET", PATH)
        clock.advance(901)
        assert (await sender.send("GET", PATH)).status == 200

    assert sandbox.counters.unauthorized == 0
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_a_file_is_shared_with_another_stack(
    sandbox: Sandbox, stack: Stack, tmp_path: Path
) -> None:
    """A token that httpx's client put into a file store serves each stack, and the other way round."""
    auths = [
        each.make_auth(sandbox, store=FileTokenStore(tmp_path / "tokens"))
        for each in (stack, HTTPX, stack)
    ]
    async with (
        stack.open(auths[0]) as first,
        HTTPX.open(auths[1]) as second,
        stack.open(auths[2]) as third,
    ):
        for sender in (first, second, third):
            assert (await sender.send("GET", PATH)).status == 200

    assert sandbox.counters.exchanges == 1
    assert {entry.jwt_id for entry in sandbox.resource_log} == {1}


@pytest.mark.parametrize("world", [(AIOHTTP, "asyncio")], indirect=True, ids=["asyncio"])
async def test_aiohttp_and_httpx_share_the_token_of_one_auth(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """Clients of both libraries on one auth need one login, and one renewal."""
    async with stack.open(auth) as sender, HTTPX.open(auth) as other:
        for each in (sender, other):
            assert (await each.send("GET", PATH)).status == 200
        sandbox.revoke()
        replies = await gather(
            *[lambda each=each: each.send("GET", PATH) for each in (sender, other) * 5]
        )

    assert [reply.status for reply in replies] == [200] * 10
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
