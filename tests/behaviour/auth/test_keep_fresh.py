"""`keep_fresh`, which renews though no request asks."""

from __future__ import annotations

import asyncio
import time

import anyio.lowlevel
import pytest

from taxizer_async import Event, ExchangeFailed, Renewed, TaxizerAuth
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, MakeAuth, auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import LIFETIME, ONE_TRY


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    """One that moves only when the test says so."""
    return ManualClock(start=time.time())


async def let_time_pass(clock: ManualClock) -> None:
    """Advance to the next moment that somebody sleeps until; nobody sleeps while a renewal is under way."""
    await clock.wait_until_asleep()
    clock.advance(clock.next_wake or 0.0)
    await anyio.lowlevel.checkpoint()


async def test_with_keep_fresh_no_request_ever_waits(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, events: list[Event]
) -> None:
    """Through three slow renewals no request is without a token."""
    sandbox.refresh_latency = 0.2
    await aging_auth.token()
    await aging_auth.events_delivered()
    events.clear()
    began = clock.monotonic()

    async def keep_time_passing() -> None:
        while True:
            await let_time_pass(clock)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aging_auth.keep_fresh)
        tasks.start_soon(keep_time_passing)
        async with client_of(aging_auth) as client:
            with anyio.fail_after(HANG):
                while sandbox.counters.refreshes_ok < 3:
                    assert (await client.post(PATH)).status_code == 200
        assert aging_auth.status().keep_fresh_running
        tasks.cancel_scope.cancel()
    lives = (clock.monotonic() - began) / LIFETIME
    await aging_auth.events_delivered()

    assert [type(event) for event in events if not isinstance(event, Renewed)] == []
    assert len(events) >= 2
    assert sandbox.counters.connects == 1
    assert sandbox.counters.refreshes_ok <= 2 * lives
    assert not aging_auth.status().keep_fresh_running


async def test_keep_fresh_logs_in_renews_and_survives_failures(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, events: list[Event]
) -> None:
    """keep_fresh logs in, renews before a request has to, and goes on after a failure."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aging_auth.keep_fresh)
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)
        sandbox.fail("refresh", Fault.status(503))
        sandbox.fail("connect", Fault.status(503), times=1)
        while sandbox.counters.connects_ok < 2:
            await let_time_pass(clock)
        tasks.cancel_scope.cancel()

    # AppRefreshToken is passed over once it has failed.
    assert (sandbox.counters.refreshes, sandbox.counters.connects) == (1, 3)
    assert aging_auth.status().usable
    await aging_auth.events_delivered()
    assert len([event for event in events if isinstance(event, ExchangeFailed)]) == 2


async def test_keep_fresh_tries_again_as_soon_as_callers_may(
    sandbox: Sandbox, clock: ManualClock, make_auth: MakeAuth
) -> None:
    """In an outage keep_fresh logs in whenever the back-off is over."""
    auth = make_auth(store=None, policy=ONE_TRY)
    sandbox.fail("connect", Fault.status(503))
    began = clock.monotonic()
    moments: list[float] = []
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.keep_fresh)
            while len(moments) < 4:
                await clock.wait_until_asleep()
                if sandbox.counters.connects > len(moments):
                    moments.append(clock.monotonic() - began)
                await let_time_pass(clock)
            tasks.cancel_scope.cancel()

    assert moments == pytest.approx([0.0, 1.0, 3.0, 7.0])


async def test_keep_fresh_wakes_when_the_token_changes(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """After forget() keep_fresh logs in without a request."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aging_auth.keep_fresh)
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)
        await clock.wait_until_asleep()
        await aging_auth.forget()
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 2)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("turns", range(6))
def test_keep_fresh_ends_though_it_is_cancelled_as_it_wakes(sandbox: Sandbox, turns: int) -> None:
    """A cancellation that comes in the same moment as a change is not lost, whichever turn it comes in."""

    async def main() -> None:
        auth = auth_of(sandbox)
        await auth.token()
        keeper = asyncio.create_task(auth.keep_fresh())
        await anyio.wait_all_tasks_blocked()
        auth._bearer.provider._coordinator().announce_change()
        for _ in range(turns):
            await asyncio.sleep(0)
        keeper.cancel()
        await asyncio.wait({keeper}, timeout=HANG)
        assert keeper.cancelled()

    asyncio.run(main())
