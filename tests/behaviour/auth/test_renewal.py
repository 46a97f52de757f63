"""Renewal ahead of need, which keeps no request waiting, and of need, for which requests wait."""

from __future__ import annotations

import logging
import time

import anyio
import pytest

from taxizer_async import Event, ExchangeFailed, RenewalPolicy, TaxizerAuth, TokenState
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, FleetFactory, MakeAuth, auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import DUE, LIFETIME, PRESSING
from tests.support.refreshes import backdate, renew, settle
from tests.support.scripted_store import ScriptedStore


@pytest.mark.invariant(7)
@pytest.mark.report(22)
@pytest.mark.parametrize(
    ("lifetime", "earliest", "latest"),
    [(3600.0, 3300.0, 3360.0), (900.0, 675.0, 720.0), (20.0, 15.0, 16.0)],
)
async def test_renewal_is_due_in_the_last_minutes_and_spread(
    sandbox: Sandbox, lifetime: float, earliest: float, latest: float
) -> None:
    """A renewal is due within the last 5 min, or the last quarter of a shorter life, at a jittered moment."""
    sandbox.lifetime = lifetime
    due_at = []
    for _ in range(16):
        clock = ManualClock(start=time.time())
        auth = auth_of(sandbox, clock=clock)
        await auth.token()
        requested_at = clock.monotonic()
        # An answer takes a moment, and timestamps have whole milliseconds.
        clock.advance(earliest - 0.2)
        while auth.status().state is TokenState.FRESH:
            clock.advance((latest - earliest) / 100)
        due_at.append(clock.monotonic() - requested_at)

    assert min(due_at) >= earliest - 0.2
    assert max(due_at) <= latest + 1
    assert max(due_at) - min(due_at) > (latest - earliest) / 4


@pytest.mark.invariant(7)
@pytest.mark.parametrize("age", [DUE, PRESSING])
async def test_an_outage_costs_nothing_while_the_token_lives(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    fleet: FleetFactory,
    events: list[Event],
    age: float,
) -> None:
    """With AppRefreshToken down requests go on with the live token, and tries are backed off."""
    await aging_auth.token()
    clock.advance(age)
    sandbox.fail("refresh", Fault.status(503))
    async with fleet(aging_auth) as clients:
        assert await clients.send(20) == [200] * 20
        await settle(aging_auth._bearer.provider)
        tried = sandbox.counters.exchanges
        assert await clients.send(20) == [200] * 20
        assert sandbox.counters.exchanges == tried
        clock.advance(1.0)
        assert await clients.send(20) == [200] * 20
        await settle(aging_auth._bearer.provider)

    # AppRefreshToken is passed over once it has failed.
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (2, 1)
    await aging_auth.events_delivered()
    failed = [event for event in events if isinstance(event, ExchangeFailed)]
    assert [event.ahead_of_need for event in failed] == [True]


@pytest.mark.invariant(7)
async def test_tries_ahead_of_need_are_single_and_backed_off(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """In an outage there is one call per back-off step: 1, 2, 4 and then 5 seconds apart."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))
    moments = []
    for second in range(18):
        before = sandbox.counters.exchanges
        await renew(aging_auth)
        assert sandbox.counters.exchanges - before <= 1
        if sandbox.counters.exchanges > before:
            moments.append(second)
        clock.advance(1)

    assert moments == [0, 1, 3, 7, 12, 17]
    assert sandbox.counters.refreshes == 1


@pytest.mark.invariant(7)
async def test_between_two_tries_no_refresh_begins(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """While a failure is remembered, requests go on with their token, and start nothing."""
    old = await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(503))
    assert await renew(aging_auth) == old

    assert await aging_auth.token() == old
    assert not aging_auth._bearer.provider._coordinator().is_under_way


@pytest.mark.invariant(7)
async def test_a_failed_renewal_is_logged_and_then_forgotten(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed renewal is logged as a warning, and the next success clears it."""
    old = await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(503), times=1)
    with caplog.at_level(logging.WARNING, "taxizer_async"):
        assert await renew(aging_auth) == old
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "503" in caplog.text

    clock.advance(1)
    assert await renew(aging_auth) != old
    assert aging_auth.status().last_error is None


@pytest.mark.invariant(8)
@pytest.mark.parametrize(
    ("lifetime", "age", "waits"),
    [(900.0, 867.0, False), (900.0, 873.0, True), (100.0, 87.0, False), (100.0, 93.0, True)],
)
async def test_callers_wait_from_must_renew_on(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    lifetime: float,
    age: float,
    waits: bool,
) -> None:
    """Callers wait for a renewal under way in the last 30 s, or the last tenth, of a life."""
    sandbox.lifetime = lifetime
    old = await aging_auth.token()
    clock.advance(age)
    jwts = []

    async def take() -> None:
        jwts.append((await aging_auth.token()).jwt)

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(take)
            await gate.wait_until_async(1)
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            assert jwts == ([] if waits else [old.jwt] * 2)

    assert len(jwts) == 2
    assert (old.jwt not in jwts) is waits
    assert sandbox.counters.exchanges == 2


#: Seconds before the end of a token; a caller waits for half of them.
REMAINING = 0.6


def advance_to_near_the_end(clock: ManualClock, auth: TaxizerAuth) -> None:
    expires_in = auth.status().expires_in
    assert expires_in is not None
    clock.advance(expires_in - REMAINING)


async def note_token(auth: TaxizerAuth, jwts: list[str]) -> None:
    jwts.append((await auth.token()).jwt.reveal())


async def log_in(sandbox: Sandbox, auth: TaxizerAuth, clock: ManualClock, *, seconds: float) -> str:
    """Have a login take so long by the clock, and return its token."""
    jwts: list[str] = []
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(note_token, auth, jwts)
            await gate.wait_until_async(1)
            clock.advance(seconds)
    return jwts[0]


@pytest.mark.invariant(8)
async def test_a_renewal_that_hangs_is_not_waited_for_until_the_token_dies(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A caller waits for half of the token's remaining life, and then goes on with it."""
    auth = make_auth(policy=RenewalPolicy(attempt_timeout=4 * HANG))
    jwt = await log_in(sandbox, auth, clock, seconds=0.02)
    advance_to_near_the_end(clock, auth)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            began = anyio.current_time()
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            with anyio.fail_after(HANG):
                token = await auth.token()
            waited = anyio.current_time() - began

    assert token.jwt.reveal() == jwt
    assert waited >= REMAINING / 2
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(8)
async def test_a_caller_that_comes_late_does_not_wait_anew(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A renewal that was waited for long enough keeps no caller that comes later."""
    auth = make_auth(policy=RenewalPolicy(attempt_timeout=4 * HANG))
    # A healthy renewal takes three times as long at most.
    jwt = await log_in(sandbox, auth, clock, seconds=HANG)
    clock.advance(PRESSING)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            backdate(auth, 3 * HANG)
            with anyio.fail_after(HANG):
                assert (await auth.token()).jwt.reveal() == jwt


@pytest.mark.invariant(8)
async def test_a_slow_renewal_is_waited_for_to_the_end(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A caller waits to the end if the last login took longer than the token has left."""
    jwt = await log_in(sandbox, aging_auth, clock, seconds=20.0)
    advance_to_near_the_end(clock, aging_auth)
    tokens: list[str] = []
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(note_token, aging_auth, tokens)
            await gate.wait_until_async(1)
            tasks.start_soon(note_token, aging_auth, tokens)
            await anyio.sleep(2 * REMAINING)
            assert tokens == []

    assert len(set(tokens)) == 1
    assert jwt not in tokens


@pytest.mark.invariant(8)
async def test_a_renewal_that_fails_fails_nobody_while_the_token_lives(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A failed renewal of need fails no caller, and is not repeated before its back-off is over."""
    before = await aging_auth.token()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))

    for _ in range(3):
        assert await aging_auth.token() == before
    assert sandbox.counters.refreshes == 1


@pytest.mark.invariant(4)
async def test_an_ended_token_is_renewed_despite_the_back_off(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """Once the token has ended, the next caller renews at once despite the back-off."""
    before = await aging_auth.token()
    advance_to_near_the_end(clock, aging_auth)
    sandbox.fail("refresh", Fault.status(503), times=1)
    assert await aging_auth.token() == before
    clock.advance(REMAINING + 0.01)

    assert await aging_auth.token() != before


@pytest.mark.invariant(4)
@pytest.mark.report(109)
async def test_a_token_that_dies_under_its_renewal_gets_a_full_one(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """Callers that joined a renewal of one attempt get a full one when it fails and their token has ended."""
    policy = RenewalPolicy(must_renew=1.0)
    auth = auth_of(sandbox, clock=clock, policy=policy)
    statuses: list[int] = []

    async def send() -> None:
        statuses.append((await client.post(PATH)).status_code)

    sandbox.fail("refresh", Fault.status(503))
    async with client_of(auth) as client:
        await client.post(PATH)
        clock.advance(LIFETIME - 10)
        async with anyio.create_task_group() as tasks:
            with sandbox.hold("refresh") as gate:
                await client.post(PATH)
                await gate.wait_until_async(1)
                clock.advance(11)
                sandbox.fail("connect", Fault.status(503), times=2)
                for _ in range(20):
                    tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()

    assert statuses == [200] * 20


@pytest.mark.invariant(8)
@pytest.mark.parametrize("remaining", [100.0, 0.5])
async def test_a_living_token_is_used_while_another_client_has_the_lease(
    sandbox: Sandbox, make_auth: MakeAuth, remaining: float
) -> None:
    """While another client keeps the lease, callers go on with their living token."""
    clock = ManualClock(start=time.time())
    store = ScriptedStore(clock)
    auth = make_auth(clock=clock, store=store, policy=RenewalPolicy(attempt_timeout=2.0))
    token = await auth.token()
    clock.advance((auth.status().expires_in or 0.0) - remaining)
    store.busy = True

    assert (await auth.token()).jwt == token.jwt
    assert sandbox.counters.exchanges == 1
    assert auth.status().usable
