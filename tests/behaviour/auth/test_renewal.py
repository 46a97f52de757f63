"""Renewal ahead of need and of need, over real sockets."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
import pytest

from taxizer_async import (
    ExchangeFailed,
    LoggedIn,
    RenewalPolicy,
    Renewed,
    TaxizerAuth,
)
from taxizer_async.testing import Fault, ManualClock
from tests.support.limits import HANG
from tests.support.refreshes import renew, settle

from .conftest import DUE


if TYPE_CHECKING:
    from taxizer_async import Event
    from taxizer_async.testing import Sandbox
    from tests.behaviour.auth.conftest import FleetFactory


LIFETIME = 900.0


@pytest.mark.report(46)
async def test_each_path_to_a_token_tells_the_operator(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, events: list[Event]
) -> None:
    """A login, a renewal ahead of need and one after a 401 are reported, once each."""
    async with httpx.AsyncClient(auth=aging_auth, base_url=sandbox.base_url) as client:
        await client.post("/v1/Devices/Register")
        clock.advance(DUE)
        await client.post("/v1/Devices/Register")
        await settle(aging_auth._bearer.provider)
        await client.post("/v1/Devices/Register")
        sandbox.revoke()
        await client.post("/v1/Devices/Register")
    await aging_auth.events_delivered()

    kinds = [type(event) for event in events if isinstance(event, (LoggedIn, Renewed))]
    assert kinds == [LoggedIn, Renewed, Renewed]


@pytest.mark.report(51)
async def test_short_lives_cost_two_exchanges_at_most(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fleet: FleetFactory
) -> None:
    """With a life of 60 s and requests all the time, there are at most two exchanges per life."""
    sandbox.lifetime = 60.0
    began = clock.monotonic()
    async with fleet(aging_auth) as clients:
        for _ in range(5 * 20):
            assert await clients.send(5) == [200] * 5
            await settle(aging_auth._bearer.provider)
            clock.advance(sandbox.lifetime / 20)
    lives = (clock.monotonic() - began) / sandbox.lifetime

    assert sandbox.counters.connects == 1
    assert lives - 1 <= sandbox.counters.exchanges <= 2 * lives
    assert sandbox.counters.unauthorized == 0


@pytest.fixture(name="still_clock")
def _still_clock() -> ManualClock:
    return ManualClock(start=time.time())


@pytest.fixture(name="kept_auth")
def _kept_auth(sandbox: Sandbox, still_clock: ManualClock, events: list[Event]) -> TaxizerAuth:
    return TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, clock=still_clock, on_event=events.append
    )


async def test_with_keep_fresh_no_request_ever_waits(
    sandbox: Sandbox, still_clock: ManualClock, kept_auth: TaxizerAuth, events: list[Event]
) -> None:
    """Through three renewals that take their time, no request finds itself without a token."""
    sandbox.refresh_latency = 0.2
    await kept_auth.token()
    await kept_auth.events_delivered()
    events.clear()
    began = still_clock.monotonic()

    async def let_time_pass() -> None:
        # While a renewal is under way nobody sleeps, and time stands still.
        while True:
            await still_clock.wait_until_asleep()
            still_clock.advance(still_clock.next_wake or 0.0)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept_auth.keep_fresh)
        tasks.start_soon(let_time_pass)
        async with httpx.AsyncClient(auth=kept_auth, base_url=sandbox.base_url) as client:
            with anyio.fail_after(HANG):
                while sandbox.counters.refreshes_ok < 3:
                    assert (await client.post("/v1/Devices/Register")).status_code == 200
        assert kept_auth.status().keep_fresh_running
        tasks.cancel_scope.cancel()
    lives = (still_clock.monotonic() - began) / LIFETIME
    await kept_auth.events_delivered()

    assert [type(event) for event in events if not isinstance(event, Renewed)] == []
    assert len(events) >= 2
    assert sandbox.counters.connects == 1
    assert sandbox.counters.refreshes_ok <= 2 * lives
    assert not kept_auth.status().keep_fresh_running


async def test_keep_fresh_logs_in_renews_and_survives_failures(
    sandbox: Sandbox, still_clock: ManualClock, kept_auth: TaxizerAuth, events: list[Event]
) -> None:
    """keep_fresh logs in by itself, renews before anybody has to, and goes on after a failure."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept_auth.keep_fresh)
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)
        sandbox.fail("refresh", Fault.status(503))
        sandbox.fail("connect", Fault.status(503), times=1)
        while sandbox.counters.connects_ok < 2:
            await still_clock.wait_until_asleep()
            still_clock.advance(still_clock.next_wake or 0.0)
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    # AppRefreshToken is passed over once it has failed.
    assert (sandbox.counters.refreshes, sandbox.counters.connects) == (1, 3)
    assert kept_auth.status().usable
    await kept_auth.events_delivered()
    assert len([event for event in events if isinstance(event, ExchangeFailed)]) == 2


async def test_keep_fresh_wakes_when_the_token_changes(
    sandbox: Sandbox, still_clock: ManualClock, kept_auth: TaxizerAuth
) -> None:
    """After forget(), keep_fresh logs in without anybody's request."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept_auth.keep_fresh)
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)
        await still_clock.wait_until_asleep()
        await kept_auth.forget()
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 2)
        tasks.cancel_scope.cancel()


async def test_a_policy_is_obeyed(sandbox: Sandbox, clock: ManualClock) -> None:
    """A renew_ahead of 10 s leaves a token of 15 min alone until then."""
    auth = TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        clock=clock,
        policy=RenewalPolicy(renew_ahead=10, must_renew=5),
    )
    await auth.token()
    clock.advance(LIFETIME - 12)
    await renew(auth)
    assert sandbox.counters.exchanges == 1

    clock.advance(6)
    await renew(auth)
    assert sandbox.counters.exchanges == 2
