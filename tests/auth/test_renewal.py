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
    TokenEndpointUnavailableError,
    TokenState,
)
from taxizer_async.testing import Fault, ManualClock


if TYPE_CHECKING:
    from taxizer_async import Event
    from taxizer_async.testing import Sandbox
    from taxizer_async.testing._sandbox_time import TimestampStyle
    from tests.auth.conftest import FleetFactory


LIFETIME = 900.0
#: Past the point from which a token of that life is renewed, before callers must wait.
DUE = 720.0
PRESSING = 875.0


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="events")
def _events() -> list[Event]:
    return []


@pytest.fixture(name="aging_auth")
def _aging_auth(sandbox: Sandbox, clock: ManualClock, events: list[Event]) -> TaxizerAuth:
    return TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, clock=clock, on_event=events.append
    )


async def test_nobody_else_waits_for_a_renewal_ahead_of_need(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """While one caller renews for as long as it takes, twenty others are served."""
    await aging_auth.token()
    clock.advance(DUE)
    async with fleet(aging_auth) as clients, anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(clients.send, 1)
            await gate.wait_until_async(1)
            with anyio.fail_after(5):
                answers = await clients.send(20)
            assert gate.waiting == 1

    assert answers == [200] * 20
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert aging_auth.status().state is TokenState.FRESH


@pytest.mark.report(13)
async def test_callers_wait_when_the_token_is_about_to_end(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """From must_renew on all callers get the new token."""
    old = await aging_auth.token()
    clock.advance(PRESSING)
    sandbox.refresh_latency = 0.1
    tokens = []

    async def take() -> None:
        tokens.append(await aging_auth.token())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(take)

    assert all(token.jwt != old.jwt for token in tokens)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.parametrize("age", [DUE, PRESSING])
async def test_an_outage_costs_nothing_while_the_token_lives(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    fleet: FleetFactory,
    events: list[Event],
    age: float,
) -> None:
    """With the token endpoint down, requests go on with the live token, and tries are backed off."""
    await aging_auth.token()
    clock.advance(age)
    sandbox.fail("refresh", Fault.status(503))
    async with fleet(aging_auth) as clients:
        assert await clients.send(20) == [200] * 20
        tried = sandbox.counters.refreshes
        assert await clients.send(20) == [200] * 20
        assert sandbox.counters.refreshes == tried
        sandbox.heal("refresh")
        clock.advance(1.0)
        assert await clients.send(20) == [200] * 20

    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes_ok) == (1, 1)
    failed = [event for event in events if isinstance(event, ExchangeFailed)]
    assert [event.ahead_of_need for event in failed] == [True]


async def test_tries_ahead_of_need_are_single_and_doubly_spaced(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """In an outage there is one call per back-off step: 1, 2, 4 … seconds apart."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(503))
    moments = []
    for second in range(16):
        before = sandbox.counters.refreshes
        await aging_auth.token()
        assert sandbox.counters.refreshes - before <= 1
        if sandbox.counters.refreshes > before:
            moments.append(second)
        clock.advance(1)

    assert moments == [0, 1, 3, 7, 15]


@pytest.mark.report(47)
@pytest.mark.report(78)
async def test_a_dead_token_and_an_outage_fail_at_once_until_the_next_try(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """Without a live token callers get the cause and the time of the next try; then it works again."""
    await aging_auth.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", Fault.status(503, headers={"Retry-After": "0"}))
    with pytest.raises(TokenEndpointUnavailableError) as first:
        await aging_auth.token()
    tried = sandbox.counters.exchanges
    with pytest.raises(TokenEndpointUnavailableError) as second:
        await aging_auth.token()

    assert sandbox.counters.exchanges == tried
    assert first.value is not second.value
    assert first.value.status_code == second.value.status_code == 503
    assert "served from memory until" in str(second.value)
    assert second.value.retry_at is not None
    assert second.value.retryable

    sandbox.heal()
    clock.advance(1)
    await aging_auth.token()
    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 1)


@pytest.mark.report(47)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503, headers={"Retry-After": "0"}),
        Fault.status(429, headers={"Retry-After": "0"}),
    ],
    ids=["503", "429"],
)
async def test_an_untouched_refresh_token_is_kept(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fault: Fault
) -> None:
    """A refresh token that the server certainly did not look at is sent again, and no login is made."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", fault, times=1)
    await aging_auth.token()
    clock.advance(1)
    await aging_auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault.drop_after_processing(),
        Fault.reset(),
        Fault.status(500),
        Fault.status(502),
        Fault.junk(b"<html>"),
        Fault.truncate(),
        Fault.status(400),
        Fault.status(401),
        Fault.status(403),
        Fault.status(404),
    ],
    ids=["taken", "reset", "500", "502", "junk", "truncated", "400", "401", "403", "404"],
)
async def test_a_spent_or_refused_refresh_token_leads_to_one_login(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fault: Fault
) -> None:
    """What may have been taken, or was refused, is never sent again: one Connect follows."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", fault, times=1)
    await aging_auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0
    assert aging_auth.status().state is TokenState.FRESH


async def test_a_refresh_token_past_its_own_expiry_is_not_sent(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A refresh token that has ended costs no call."""
    sandbox.refresh_lifetime = 600.0
    await aging_auth.token()
    clock.advance(DUE)
    await aging_auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


@pytest.mark.report(46)
async def test_each_path_to_a_token_tells_the_operator(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, events: list[Event]
) -> None:
    """A login, a renewal ahead of need and one after a 401 are reported, once each."""
    async with httpx.AsyncClient(auth=aging_auth, base_url=sandbox.base_url) as client:
        await client.post("/v1/Devices/Register")
        clock.advance(DUE)
        await client.post("/v1/Devices/Register")
        sandbox.revoke()
        await client.post("/v1/Devices/Register")

    kinds = [type(event) for event in events if isinstance(event, (LoggedIn, Renewed))]
    assert kinds == [LoggedIn, Renewed, Renewed]


@pytest.mark.report(51)
@pytest.mark.slow
async def test_short_lives_cost_two_exchanges_at_most(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """With a life of 1 s and requests all the time, there are at most two exchanges per life."""
    sandbox.lifetime = 1.0
    began = time.monotonic()
    async with fleet(auth) as clients:
        while time.monotonic() - began < 5.0:
            assert await clients.send(5) == [200] * 5
    lives = time.monotonic() - began

    assert sandbox.counters.connects == 1
    assert lives - 1 <= sandbox.counters.exchanges <= 2 * lives
    assert sandbox.counters.unauthorized == 0


@pytest.mark.slow
async def test_with_keep_fresh_no_request_ever_waits(
    sandbox: Sandbox,
) -> None:
    """Through renewals of 500 ms with a life of 3 s, no request finds itself without a token."""
    sandbox.lifetime, sandbox.refresh_latency = 3.0, 0.5
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    await auth.token()
    waits = 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.keep_fresh)
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            began = time.monotonic()
            while time.monotonic() - began < 7.0:
                before = sandbox.counters.exchanges
                request = client.build_request("POST", "/v1/Devices/Register")
                with anyio.move_on_after(0.2) as scope:
                    assert (await client.send(request)).status_code == 200
                waits += scope.cancelled_caught
                assert sandbox.counters.exchanges - before <= 1
        assert auth.status().keep_fresh_running
        tasks.cancel_scope.cancel()

    assert waits == 0
    assert sandbox.counters.connects == 1
    assert 2 <= sandbox.counters.refreshes_ok <= 4
    assert not auth.status().keep_fresh_running


@pytest.fixture(name="still_clock")
def _still_clock() -> ManualClock:
    return ManualClock(start=time.time())


@pytest.fixture(name="kept_auth")
def _kept_auth(sandbox: Sandbox, still_clock: ManualClock, events: list[Event]) -> TaxizerAuth:
    return TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, clock=still_clock, on_event=events.append
    )


async def test_keep_fresh_logs_in_renews_and_survives_failures(
    sandbox: Sandbox, still_clock: ManualClock, kept_auth: TaxizerAuth, events: list[Event]
) -> None:
    """keep_fresh logs in by itself, renews before anybody has to, and goes on after a failure."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kept_auth.keep_fresh)
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)
        sandbox.fail("refresh", Fault.status(503), times=2)
        while sandbox.counters.refreshes_ok < 1:
            await still_clock.wait_until_asleep()
            still_clock.advance(still_clock.next_wake or 0.0)
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    assert sandbox.counters.refreshes == 3
    assert kept_auth.status().usable
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
    await auth.token()
    assert sandbox.counters.exchanges == 1

    clock.advance(6)
    await auth.token()
    assert sandbox.counters.exchanges == 2


async def test_a_machine_that_slept_sends_no_dead_token(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """If only the wall clock went on, the token counts as dead all the same."""
    await aging_auth.token()
    clock.jump(LIFETIME + 1)
    assert aging_auth.status().state is TokenState.EXPIRED

    await aging_auth.token()
    assert sandbox.counters.exchanges == 2


async def test_a_wall_clock_set_back_changes_nothing(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """A wall clock that jumps back a day neither prolongs the token nor renews it."""
    await aging_auth.token()
    clock.jump(-86_400)
    await aging_auth.token()
    assert sandbox.counters.exchanges == 1

    clock.advance(PRESSING)
    await aging_auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(53)
@pytest.mark.report(72)
@pytest.mark.parametrize("style", ["unset", "null", "missing"])
async def test_an_odd_expiry_never_loops(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, style: TimestampStyle
) -> None:
    """Without a believable expiry the token is used, and renewed every 30 s at most."""
    sandbox.timestamp_style = style
    for _ in range(60):
        await aging_auth.token()
        clock.advance(1.0)

    assert 1 <= sandbox.counters.exchanges <= 2


@pytest.mark.report(53)
async def test_a_token_that_has_ended_on_arrival_is_used_until_refused(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A token with an expiry in the past is sent, and renewed every 30 s at most."""
    sandbox.lifetime = -100.0
    async with fleet(aging_auth) as clients:
        for _ in range(60):
            assert await clients.send(1) == [200]
            clock.advance(1.0)

    assert sandbox.counters.exchanges == 2
