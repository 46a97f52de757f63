"""Invariants 11 and 12: time, and timestamps."""

from __future__ import annotations

import time

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from taxizer_async import AuthError, TaxizerAuth, TokenState
from taxizer_async.testing import Fault, ManualClock
from tests.behaviour.auth.conftest import PRESSING


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from taxizer_async.testing._sandbox.tokens import TimestampStyle
    from tests.behaviour.auth.conftest import FleetFactory


HOUR, DAY = 3_600.0, 86_400.0
LIFETIME = 900.0


@pytest.mark.parametrize("offset", [DAY, -DAY])
async def test_invariant_11_our_clock_a_day_off_costs_nothing(
    sandbox: Sandbox, offset: float
) -> None:
    """With our own clock a day off, a token lasts what it lasts, and is renewed when it is due."""
    clock = ManualClock(start=time.time() + offset)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    for exchanges in (1, 2, 3):
        await auth.token()
        assert sandbox.counters.exchanges == exchanges
        assert 895 < (auth.status().expires_in or 0) < 905
        clock.advance(600)
        await auth.token()
        assert sandbox.counters.exchanges == exchanges
        clock.advance(PRESSING - 600)

    assert sandbox.counters.connects == 1


@pytest.mark.parametrize("jump", [0.0, -100.0, DAY, -DAY])
async def test_invariant_11_life_is_counted_from_before_the_request(
    sandbox: Sandbox, clock: ManualClock, jump: float
) -> None:
    """An answer that took 100 s leaves 800 s of 900, though the wall clock was set meanwhile."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            clock.advance(100)
            clock.jump(jump)

    assert 795 < (auth.status().expires_in or 0) < 805


@pytest.mark.parametrize("error", [HOUR, -HOUR])
async def test_invariant_11_a_clock_that_is_set_right_during_a_login_costs_nothing(
    sandbox: Sandbox, error: float
) -> None:
    """The time that an answer took is not told by a wall clock that was an hour off when it was sent."""
    clock = ManualClock(start=time.time() + error)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            clock.jump(-error)

    assert 895 < (auth.status().expires_in or 0) < 905


@pytest.mark.report(55)
@pytest.mark.report(56)
@pytest.mark.parametrize("offset", [DAY, -DAY])
async def test_invariant_11_a_server_clock_a_day_off_costs_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, offset: float
) -> None:
    """With the server's clock a day ahead or behind, requests over time share one exchange."""
    sandbox.clock_offset = offset
    async with fleet(auth) as clients:
        for _ in range(5):
            assert await clients.send(10) == [200] * 10

    assert sandbox.counters.exchanges == 1
    # `Date` counts whole seconds.
    assert 880 < (auth.status().expires_in or 0) <= 901


async def test_invariant_11_a_date_a_second_off_is_not_counted_from(sandbox: Sandbox) -> None:
    """A server's clock that differs by less than 2 s is not told from ours: `Date` has no fraction."""
    sandbox.clock_offset = -0.9
    clock = ManualClock(start=time.time())
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    token = await auth.token()

    assert token.expires_at is not None
    expected = token.expires_at.timestamp() - clock.wall()
    assert auth.status().expires_in == pytest.approx(expected, abs=0.01)


async def test_invariant_11_a_machine_that_slept_sends_no_dead_token(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """A token that ended while the machine slept is replaced before a request goes on."""
    first = await aging_auth.token()
    clock.advance(LIFETIME + 1)
    assert aging_auth.status().state is TokenState.EXPIRED

    assert await aging_auth.token() != first
    assert sandbox.counters.exchanges == 2


async def test_invariant_11_a_login_that_slept_ends(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """A machine's sleep counts for the 30 s of a login, so nothing more is tried; the next one is due."""
    sandbox.fail("connect", Fault.status(503))
    errors: list[AuthError] = []

    async def ask() -> None:
        try:
            await aging_auth.token()
        except AuthError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(ask)
            await gate.wait_until_async(1)
            clock.advance(8 * HOUR)
    assert [error.retryable for error in errors] == [True]
    assert sandbox.counters.connects == 1

    sandbox.heal()
    clock.advance(1.0)
    await aging_auth.token()
    assert sandbox.counters.connects == 2


@pytest.mark.parametrize("jump", [2 * HOUR, -DAY])
async def test_invariant_11_a_wall_clock_that_is_set_changes_nothing(
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


@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize(
    ("fraction", "separator", "zone"),
    [
        ("", "T", ""),
        (".1", "T", "Z"),
        (".123", " ", "z"),
        (".1234567", "T", ""),
        (".123456789", " ", "+00:00"),
        ("", " ", "+0330"),
        (".123456", "T", "-11:00"),
    ],
)
async def test_invariant_12_a_moment_is_read_in_any_form(
    sandbox: Sandbox, aging_auth: TaxizerAuth, fraction: str, separator: str, zone: str
) -> None:
    """Fractions of 0 to 9 digits, Z, z, offsets and a blank are read; without a zone it is UTC."""
    hours = {"+0330": 3.5, "-11:00": -11}.get(zone, 0)
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=500)
    local = (ends + timedelta(hours=hours)).replace(tzinfo=None)
    text = f"{local.isoformat(separator)}{fraction}{zone}"
    sandbox.fail("connect", Fault.edit(jwtTokenExpireAtUTC=text))
    token = await aging_auth.token()

    assert token.expires_at is not None
    assert 0 <= (token.expires_at - ends).total_seconds() < 1
    assert 495 < (aging_auth.status().expires_in or 0) < 505


@pytest.mark.parametrize("style", ["null", "missing"])
async def test_invariant_12_without_an_expiry_it_lasts_five_minutes(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, style: TimestampStyle
) -> None:
    """A token whose end is not told is taken to live for 300 s."""
    sandbox.timestamp_style = style
    await aging_auth.token()
    assert aging_auth.status().expires_in == pytest.approx(300, abs=1)

    clock.advance(301)
    assert aging_auth.status().state is TokenState.EXPIRED
    await aging_auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(53)
@pytest.mark.report(72)
@pytest.mark.parametrize("style", ["unset", "null", "missing"])
async def test_invariant_12_an_odd_expiry_never_loops(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, style: TimestampStyle
) -> None:
    """Without a believable expiry the token is used, and renewed every 30 s at most."""
    sandbox.timestamp_style = style
    for _ in range(60):
        await aging_auth.token()
        clock.advance(1.0)

    assert 1 <= sandbox.counters.exchanges <= 2


@pytest.mark.report(53)
async def test_invariant_12_a_token_that_ended_on_arrival_is_used_until_refused(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A token with an expiry in the past is sent, and renewed every 30 s at most."""
    sandbox.lifetime = -100.0
    async with fleet(aging_auth) as clients:
        for _ in range(60):
            assert await clients.send(1) == [200]
            clock.advance(1.0)

    assert sandbox.counters.exchanges == 2
