"""Invariants 7 to 10: renewal ahead of need and of need, and the refresh token."""

from __future__ import annotations

import logging
import time

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import (
    ExchangeFailed,
    TaxizerAuth,
    TokenState,
)
from taxizer_async.testing import Fault, ManualClock
from tests.behaviour.auth.conftest import DUE, PRESSING
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG
from tests.support.refreshes import cut_off, renew, settle

from .conftest import PATH


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import Event
    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing import Sandbox
    from tests.behaviour.auth.conftest import FleetFactory
    from tests.support.scripted_store import ScriptedStore


async def test_invariant_07_nobody_else_waits_for_a_renewal_ahead_of_need(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """While a renewal takes as long as it takes, all callers are served."""
    await aging_auth.token()
    clock.advance(DUE)
    async with fleet(aging_auth) as clients, anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(clients.send, 1)
            await gate.wait_until_async(1)
            with anyio.fail_after(HANG):
                answers = await clients.send(20)
            assert gate.waiting == 1

    await settle(aging_auth._bearer.provider)
    assert answers == [200] * 20
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert aging_auth.status().state is TokenState.FRESH


@pytest.mark.parametrize(
    ("lifetime", "earliest", "latest"),
    [(3600.0, 3300.0, 3360.0), (900.0, 675.0, 720.0), (20.0, 15.0, 16.0)],
)
async def test_invariant_07_renewal_is_due_in_the_last_minutes_and_spread(
    sandbox: Sandbox, lifetime: float, earliest: float, latest: float
) -> None:
    """It is due from 5 min before the end, or a quarter of the life, and not for all at one moment."""
    sandbox.lifetime = lifetime
    due_at = []
    for _ in range(16):
        clock = ManualClock(start=time.time())
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
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


@pytest.mark.parametrize("age", [DUE, PRESSING])
async def test_invariant_07_an_outage_costs_nothing_while_the_token_lives(
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


async def test_invariant_07_tries_ahead_of_need_are_single_and_backed_off(
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


async def test_invariant_07_a_failed_renewal_is_logged_and_then_forgotten(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Callers keep the old token, a warning says why there is no other, and a success ends it."""
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


@pytest.mark.report(13)
async def test_invariant_08_callers_wait_when_the_token_is_about_to_end(
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


@pytest.mark.parametrize(
    ("lifetime", "age", "waits"),
    [
        (900.0, 867.0, False),
        (900.0, 873.0, True),
        (100.0, 87.0, False),
        (100.0, 93.0, True),
    ],
)
async def test_invariant_08_callers_wait_from_must_renew_on(
    sandbox: Sandbox,
    clock: ManualClock,
    aging_auth: TaxizerAuth,
    *,
    lifetime: float,
    age: float,
    waits: bool,
) -> None:
    """Who comes while another renews waits for it in the last 30 s, or the last tenth, of a life."""
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


async def test_invariant_09_the_refresh_token_is_tried_first(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """Renewal ahead of need, of need and after a 401 costs no login."""
    await aging_auth.token()
    for age in (DUE, PRESSING, 1_000):
        clock.advance(age)
        await renew(aging_auth)
    async with httpx.AsyncClient(auth=aging_auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH)).status_code == 200
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 4)


@pytest.mark.parametrize("value", [Fault.MISSING, None, ""], ids=["missing", "null", "empty"])
async def test_invariant_09_without_one_a_login_is_made(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, value: object
) -> None:
    """A token that came without a refresh token is followed by one Connect."""
    sandbox.fail("connect", Fault.edit(refreshToken=value), times=1)
    await aging_auth.token()
    clock.advance(DUE)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


async def test_invariant_09_one_past_its_own_expiry_is_not_sent(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A refresh token that has ended costs no call."""
    sandbox.refresh_lifetime = 600.0
    await aging_auth.token()
    clock.advance(DUE)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


async def test_invariant_09_it_is_spent_the_moment_it_is_sent(
    sandbox: Sandbox,
    clock: ManualClock,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
) -> None:
    """While it is on its way it is marked as spent, in memory and in the store."""
    auth = make_auth()
    await auth.token()
    clock.advance(PRESSING)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            marks = [auth.status().refreshable, store.saved[-1].refresh_spent]

    assert marks == [False, True]
    assert auth.status().refreshable
    assert not store.saved[-1].refresh_spent


@pytest.mark.report(45)
async def test_invariant_09_the_mark_is_written_before_it_is_sent(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A process that dies in mid-refresh leaves word: the next one logs in."""
    auth = make_auth()
    await auth.token()
    clock.advance(PRESSING)
    seen: list[tuple[bool, int]] = []

    async def note(record: TokenRecord) -> None:
        seen.append((record.refresh_spent, sandbox.counters.refreshes))

    store.before_save = note
    with sandbox.hold("refresh") as gate:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            cut_off(auth)
            await settle(auth._bearer.provider)
        assert seen == [(True, 0)]
        await make_auth().token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


async def test_invariant_09_one_in_doubt_is_not_sent_again_without_a_store(
    sandbox: Sandbox,
    clock: ManualClock,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
) -> None:
    """Without a store, too, a refresh token that may have been taken is spent."""
    store.down = {"lease"}
    auth = make_auth()
    old = await auth.token()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.drop_after_processing(), times=1)
    sandbox.fail("connect", Fault.status(500))
    assert await renew(auth) == old
    sandbox.heal()
    clock.advance(2)
    await renew(auth)

    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.report(115)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.drop_after_processing(),
        Fault.reset(),
        Fault.status(500),
        Fault.status(502),
        Fault.status(503),
        Fault.junk(b"<html>"),
        Fault.truncate(),
        Fault.status(400),
        Fault.status(401),
        Fault.status(403),
        Fault.status(404),
    ],
    ids=["taken", "reset", "500", "502", "503", "junk", "truncated", "400", "401", "403", "404"],
)
@pytest.mark.parametrize("age", [DUE, 1_000.0], ids=["alive", "dead"])
async def test_invariant_09_a_spent_or_refused_one_leads_to_one_login(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fault: Fault, age: float
) -> None:
    """One that may have arrived, or was refused, is never sent again: one Connect follows."""
    await aging_auth.token()
    clock.advance(age)
    sandbox.fail("refresh", fault, times=1)
    await renew(aging_auth)
    # Ahead of need only the next try is the login.
    clock.advance(1)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0
    assert aging_auth.status().state is TokenState.FRESH


@pytest.mark.report(47)
@pytest.mark.parametrize("fault", [Fault.reset(), Fault.status(500), Fault.status(503)], ids=str)
async def test_invariant_09_one_in_doubt_stays_spent(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fault: Fault
) -> None:
    """It is not sent again either once AppRefreshToken is asked again."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", fault, times=1)
    sandbox.fail("connect", Fault.status(503))
    await renew(aging_auth)
    assert not aging_auth.status().refreshable
    sandbox.heal()
    clock.advance(61)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)


async def test_invariant_09_one_that_did_not_arrive_is_kept(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A 429 proves that it did not: it is sent again once AppRefreshToken is asked again."""
    await aging_auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(429))
    sandbox.fail("connect", Fault.status(503))
    await renew(aging_auth)
    assert aging_auth.status().refreshable
    sandbox.heal()
    clock.advance(61)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 1)
    assert sandbox.counters.reuses == 0


async def test_invariant_09_one_that_found_nobody_is_kept(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """With nobody there to connect to it is kept, and sent once AppRefreshToken is asked again."""
    await aging_auth.token()
    sandbox.stop()
    clock.advance(DUE)
    await renew(aging_auth)
    assert aging_auth.status().refreshable
    sandbox.start()
    clock.advance(61)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_invariant_09_a_sick_refresh_endpoint_is_nobodys_failure(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, status: int
) -> None:
    """Connect follows in the same refresh; AppRefreshToken is asked again after 60 s only."""
    sandbox.lifetime = 20.0
    await aging_auth.token()
    sandbox.fail("refresh", Fault.status(status))
    asked = []
    for _ in range(6):
        clock.advance(21)
        await aging_auth.token()
        asked.append(sandbox.counters.refreshes)

    # After 21, 42, 63, 84, 105 and 126 s.
    assert asked == [1, 1, 1, 2, 2, 2]
    assert sandbox.counters.connects_ok == 7


@needs_fork
@pytest.mark.parametrize("down", [set[str](), {"lease"}], ids=["store", "no-store"])
def test_invariant_09_a_forked_child_leaves_its_parents_alone(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore, down: set[str]
) -> None:
    """A child uses the parent's JWT, logs in for itself to renew, and never spends the parent's."""
    store.down = down
    auth = make_auth()

    async def use() -> None:
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            (await client.post(PATH)).raise_for_status()

    anyio.run(use)
    assert exit_code(fork(use)) == 0
    assert sandbox.counters.exchanges == 1

    sandbox.revoke()
    assert exit_code(fork(use)) == 0
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)
    anyio.run(use)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.report(45)
async def test_invariant_10_a_rotated_one_is_saved_before_anyone_uses_the_jwt(
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """While the new tokens are being saved, nobody sees the new JWT."""
    auth = make_auth()
    old = await auth.token()
    clock.advance(DUE)
    used: list[bool] = []

    async def look(record: TokenRecord) -> None:
        if not record.refresh_spent:
            used.append((await auth.token()).jwt == old.jwt)

    store.before_save = look
    new = await renew(auth)

    assert used == [True]
    assert new.jwt != old.jwt


@pytest.mark.parametrize("way", ["401", "outage"])
async def test_invariant_10_neither_a_401_nor_an_outage_loses_it(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth, way: str
) -> None:
    """A rotated refresh token is what is sent after the JWT was refused, or its renewal unheard."""
    await aging_auth.token()
    clock.advance(DUE)
    await renew(aging_auth)
    async with httpx.AsyncClient(auth=aging_auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH)).status_code == 200
        if way == "401":
            sandbox.revoke()
        else:
            sandbox.fail("refresh", Fault.status(429))
            sandbox.fail("connect", Fault.status(429))
            clock.advance(DUE)
            await renew(aging_auth)
            sandbox.heal()
            clock.advance(1_000)
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 2)
    assert sandbox.counters.reuses == 0
