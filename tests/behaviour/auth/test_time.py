"""Clocks that are wrong, jump or sleep, and expiries that are missing or odd."""

from __future__ import annotations

import time

from datetime import UTC, datetime

import anyio
import pytest

from taxizer_async import AuthError, MemoryTokenStore, TaxizerAuth, TokenState
from taxizer_async.testing import Fault, ManualClock, Sandbox
from taxizer_async.testing._sandbox.tokens import TIMELESS_STYLES, TIMESTAMP_STYLES, TimestampStyle
from tests.support.callers import PATH, auth_of, client_of, failure_of
from tests.support.policies import DUE, PRESSING


HOUR, DAY = 3_600.0, 86_400.0


@pytest.mark.invariant(11)
@pytest.mark.parametrize(
    ("error", "took", "jump"),
    [
        *((0.0, 100.0, jump) for jump in (0.0, -100.0, DAY, -DAY)),
        (HOUR, 0, -HOUR),
        (-HOUR, 0, HOUR),
    ],
)
async def test_life_is_counted_from_before_the_request(
    sandbox: Sandbox, error: float, took: float, jump: float
) -> None:
    """A token has 900 s less the time that its answer took, though the wall clock was wrong or set meanwhile."""
    clock = ManualClock(start=time.time() + error)
    auth = auth_of(sandbox, clock=clock)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            clock.advance(took)
            clock.jump(jump)

    assert auth.status().expires_in == pytest.approx(900 - took, abs=5)


@pytest.mark.invariant(11)
async def test_a_login_that_slept_ends(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """A machine's sleep counts in the 30 s of a login, which then tries no more; the next login may."""
    sandbox.fail("connect", Fault.status(503))
    with sandbox.hold("connect") as gate:

        async def sleep() -> None:
            await gate.wait_until_async(1)
            clock.advance(8 * HOUR)
            gate.release()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep)
            assert (await failure_of(AuthError, aging_auth.token)).retryable
    assert sandbox.counters.connects == 1

    sandbox.heal()
    clock.advance(1.0)
    await aging_auth.token()
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(11)
@pytest.mark.parametrize("jump", [2 * HOUR, -DAY])
async def test_a_wall_clock_that_is_set_changes_nothing(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, jump: float
) -> None:
    """A wall clock that is set, either way, neither ends, prolongs nor renews the token."""
    await aging_auth.token()
    clock.jump(jump)
    assert aging_auth.status().state is TokenState.FRESH
    await aging_auth.token()
    assert sandbox.counters.exchanges == 1

    clock.advance(PRESSING)
    await aging_auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(11)
@pytest.mark.report(55, 56)
@pytest.mark.parametrize("send_date", [True, False], ids=["date", "no-date"])
@pytest.mark.parametrize("ahead", [-DAY, -HOUR, HOUR, DAY])
async def test_a_wrong_clock_locks_nobody_out(
    sandbox: Sandbox, ahead: float, send_date: bool
) -> None:
    """A token is used and renewed though our clock is far off, even if the server sends no Date."""
    sandbox.send_date = send_date
    clock = ManualClock(start=time.time() + ahead)
    auth = auth_of(sandbox, clock=clock)
    async with client_of(auth) as client:
        for _ in range(60):
            await auth.token()
            clock.advance(1.0)
        assert (await client.post(PATH)).status_code == 200
        # What the end of its life looks like, whether we expect that or not.
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    # Without a Date each token looks dead to a clock that is ahead: it is renewed every 30 s.
    assert sandbox.counters.exchanges <= (4 if ahead > 0 and not send_date else 2)


@pytest.mark.invariant(11)
@pytest.mark.report(135)
@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
@pytest.mark.parametrize("age", [0.0, DUE + 1.0])
async def test_a_clock_that_is_set_in_an_outage_costs_nothing(
    sandbox: Sandbox, clock: ManualClock, age: float, seconds: float
) -> None:
    """With the token endpoints down a good token, held or found in the store, stays in use."""
    store = MemoryTokenStore(clock=clock)
    first, second = (auth_of(sandbox, clock=clock, store=store) for _ in range(2))
    await first.token()
    clock.advance(age)
    sandbox.fail("connect", Fault.status(503))
    sandbox.fail("refresh", Fault.status(503))
    clock.jump(seconds)
    async with client_of(first) as client:
        for _ in range(20):
            assert (await client.post(PATH)).status_code == 200
    await second.token()

    assert second.status().adoptions == 1
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(12)
@pytest.mark.report(58, 61, 62)
@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize("style", sorted(set(TIMESTAMP_STYLES) - TIMELESS_STYLES))
async def test_each_way_to_write_a_moment_gives_the_same_life(
    sandbox: Sandbox, clock: ManualClock, style: TimestampStyle
) -> None:
    """However the expiry is written, and in any time zone of this machine, the token lives for 900 s."""
    sandbox.timestamp_style = style
    store = MemoryTokenStore(clock=clock)
    first, second = (auth_of(sandbox, store=store, clock=clock) for _ in range(2))
    for auth in (first, second, first, second):
        expires_at = (await auth.token()).expires_at
        assert expires_at is not None
        assert 890 < (expires_at - datetime.now(UTC)).total_seconds() < 902
        assert 890 < (auth.status().expires_in or 0) < 902
    assert sandbox.counters.exchanges == 1

    clock.advance(890)
    for auth in (first, second, first, second):
        await auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(12)
@pytest.mark.parametrize("style", ["null", "missing"])
async def test_without_an_expiry_it_lasts_five_minutes(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, style: TimestampStyle
) -> None:
    """A token without an expiry is taken to live for 300 s."""
    sandbox.timestamp_style = style
    await aging_auth.token()
    assert aging_auth.status().expires_in == pytest.approx(300, abs=1)

    clock.advance(301)
    assert aging_auth.status().state is TokenState.EXPIRED
    await aging_auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(12)
@pytest.mark.report(53, 72)
@pytest.mark.parametrize(
    ("setting", "value", "exchanges"),
    [
        ("timestamp_style", "null", 1),
        ("timestamp_style", "missing", 1),
        ("timestamp_style", "unset", 2),
        ("lifetime", -100.0, 2),
    ],
)
async def test_an_odd_expiry_never_loops(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    setting: str,
    value: object,
    exchanges: int,
) -> None:
    """Without an expiry in the future the token is used, and renewed every 30 s at most."""
    setattr(sandbox, setting, value)
    async with client_of(aging_auth) as client:
        for _ in range(60):
            assert (await client.post(PATH)).status_code == 200
            clock.advance(1.0)

    assert sandbox.counters.exchanges == exchanges
