"""The refresh token: tried first, spent once it is sent, and replaced by a login whatever goes wrong with it."""

from __future__ import annotations

import contextlib

from functools import partial

import anyio
import pytest

from taxizer_async import (
    Event,
    LoggedIn,
    RefreshRefused,
    RenewalPolicy,
    Renewed,
    TaxizerAuth,
    TokenEndpointUnavailableError,
    TokenState,
)
from taxizer_async._http.token_endpoints import CONNECT_PATH, REFRESH_PATH
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, MakeAuth, auth_of, client_of, failure_of
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG
from tests.support.policies import DUE, LIFETIME, ONE_TRY, PRESSING
from tests.support.refreshes import cut_off, renew, settle
from tests.support.scripted_store import ScriptedStore


@pytest.mark.invariant(9, 10)
async def test_the_refresh_token_is_tried_first(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """No renewal, ahead of need, of need or after a 401, costs a login."""
    await aging_auth.token()
    for age in (DUE, PRESSING, 1_000):
        clock.advance(age)
        await renew(aging_auth)
    async with client_of(aging_auth) as client:
        assert (await client.post(PATH)).status_code == 200
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 4)


@pytest.mark.invariant(9)
@pytest.mark.report(49)
@pytest.mark.parametrize("value", [None, Fault.MISSING, "", 17, {}], ids=repr)
@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_a_token_without_a_refresh_token_is_a_token(
    sandbox: Sandbox, auth: TaxizerAuth, where: str, value: object
) -> None:
    """An answer without a usable refreshToken is used for its life, and a login follows it."""
    async with client_of(auth) as client:
        if where == "refresh":
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()
        sandbox.fail(where, Fault.edit(refreshToken=value), times=1)
        assert (await client.post(PATH)).status_code == 200
        exchanges = sandbox.counters.exchanges
        assert (await client.post(PATH)).status_code == 200
        assert sandbox.counters.exchanges == exchanges
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    assert sandbox.counters.exchanges == exchanges + 1
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(9)
async def test_one_past_its_own_expiry_is_not_sent(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """A refresh token past its own expiry costs no call."""
    sandbox.refresh_lifetime = 600.0
    await aging_auth.token()
    clock.advance(DUE)
    await renew(aging_auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


@pytest.mark.invariant(9)
@pytest.mark.report(45)
async def test_the_mark_is_written_before_it_is_sent(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """The refresh token is marked as spent before it is sent: after a crash the next process logs in."""
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
            assert not auth.status().refreshable
            cut_off(auth)
            await settle(auth._bearer.provider)
        assert seen == [(True, 0)]
        await make_auth().token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(9)
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
async def test_a_spent_or_refused_one_leads_to_one_login(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock, fault: Fault, age: float
) -> None:
    """A refresh token that may have arrived, or was refused, is not sent again: one Connect follows."""
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


@pytest.mark.invariant(9)
@pytest.mark.report(47)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.reset(), id="reset"),
        pytest.param(Fault.status(500), id="500"),
        pytest.param(Fault.status(503), id="503"),
        pytest.param(Fault.drop_after_processing(), id="taken"),
        pytest.param(Fault.hang(), id="hang", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("down", [set[str](), {"lease"}], ids=["store", "no-store"])
# A renewal does not wait any more for a store that fails.
@pytest.mark.parametrize("age", [800.0, 1_000.0], ids=["alive", "dead"])
async def test_one_in_doubt_stays_spent(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
    fault: Fault,
    down: set[str],
    age: float,
) -> None:
    """A refresh token that may have arrived is not sent again after the outage: one login is made."""
    store.down = down
    seconds = 1.0 if fault == Fault.hang() else HANG
    auth = make_auth(policy=RenewalPolicy(backoff=60.0, attempt_timeout=seconds))
    await auth.token()
    clock.advance(age)
    sandbox.fail("refresh", fault)
    sandbox.fail("connect", fault)
    for _ in range(3):
        with contextlib.suppress(TokenEndpointUnavailableError):
            await renew(auth)
        assert not auth.status().refreshable
        clock.advance(61)
    sandbox.heal()
    sandbox.reset_counters()
    await renew(auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(9)
@pytest.mark.report(113)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.status(429), id="429"),
        pytest.param(Fault.status(500), id="500"),
        pytest.param(Fault.status(503), id="503"),
        pytest.param(Fault.junk(b"<html>", status=200), id="html"),
        pytest.param(Fault.hang(), id="hang", marks=pytest.mark.slow),
    ],
)
async def test_a_sick_refresh_endpoint_is_nobodys_failure(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, fault: Fault
) -> None:
    """If AppRefreshToken fails, Connect follows at once; AppRefreshToken is asked again after 60 s."""
    sandbox.lifetime = 20.0
    auth = make_auth(policy=RenewalPolicy(attempt_timeout=1.0))
    await auth.token()
    sandbox.fail("refresh", fault)
    asked = []
    for _ in range(6):
        clock.advance(21)
        await auth.token()
        asked.append(sandbox.counters.refreshes)

    # After 21, 42, 63, 84, 105 and 126 s.
    assert asked == [1, 1, 1, 2, 2, 2]
    assert sandbox.counters.connects_ok == 7


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(503), "TokenEndpointUnavailableError"),
        (Fault.status(400), "TokenResponseError"),
        (Fault.status(200, body="{}"), "TokenResponseError"),
    ],
    ids=["503", "400", "JSON"],
)
async def test_what_became_of_it_is_reported(
    sandbox: Sandbox,
    aging_auth: TaxizerAuth,
    clock: ManualClock,
    events: list[Event],
    fault: Fault,
    error: str,
) -> None:
    """The events name the endpoint and the error, and have the seconds that it took."""
    await aging_auth.token()
    clock.advance(1_000)
    sandbox.fail("refresh", fault, times=1)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(aging_auth.token)
            await gate.wait_until_async(1)
            clock.advance(2.0)
    clock.advance(PRESSING)
    await renew(aging_auth)
    await aging_auth.events_delivered()

    happened = [event for event in events if isinstance(event, LoggedIn | RefreshRefused | Renewed)]
    assert [type(event) for event in happened] == [LoggedIn, RefreshRefused, LoggedIn, Renewed]
    paths = [getattr(event, "endpoint", "").removeprefix(sandbox.base_url) for event in happened]
    assert paths == [CONNECT_PATH, "", CONNECT_PATH, REFRESH_PATH]
    assert getattr(happened[1], "error", None) == error
    assert [event.elapsed for event in happened] == pytest.approx([0, 2, 0, 0], abs=0.1)


@pytest.mark.invariant(9)
@pytest.mark.report(47)
@pytest.mark.parametrize("state", ["revoked", "expired"])
@pytest.mark.parametrize("status", [429, None], ids=["429", "down"])
async def test_a_refresh_token_outlives_an_outage(
    sandbox: Sandbox, clock: ManualClock, status: int | None, state: str
) -> None:
    """A refresh token that certainly did not arrive is sent again after the outage."""
    auth = auth_of(sandbox, clock=clock, policy=ONE_TRY)
    async with client_of(auth) as client:
        assert (await client.post(PATH)).status_code == 200
        if state == "revoked":
            sandbox.revoke()
        else:
            clock.advance(LIFETIME + 1)
        if status is None:
            sandbox.stop()
        else:
            sandbox.fail("refresh", Fault.status(status))
            sandbox.fail("connect", Fault.status(status))
        for _ in range(5):
            if status is not None or state == "expired":
                await failure_of(TokenEndpointUnavailableError, partial(client.post, PATH))
            clock.advance(61)
        if status is None:
            sandbox.start()
        sandbox.heal()
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes_ok) == (1, 1)


@pytest.mark.invariant(9)
@needs_fork
@pytest.mark.parametrize("down", [set[str](), {"lease"}], ids=["store", "no-store"])
def test_a_forked_child_leaves_its_parents_alone(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, down: set[str]
) -> None:
    """A forked child uses its parent's JWT, but logs in to renew and never sends its parent's refresh token."""
    store.down = down
    auth = make_auth()

    async def use() -> None:
        async with client_of(auth) as client:
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


@pytest.mark.invariant(9)
@pytest.mark.report(114)
async def test_tokens_of_the_refresh_endpoint_that_never_work_lead_to_a_login(
    sandbox: Sandbox,
) -> None:
    """If renewed tokens are refused, a login follows in the same request, and AppRefreshToken is passed over."""

    def refuse_what_was_renewed(event: Event) -> None:
        if isinstance(event, Renewed):
            sandbox.revoke()

    auth = auth_of(sandbox, on_event=refuse_what_was_renewed)
    async with client_of(auth) as client:
        for _ in range(3):
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (3, 1)


@pytest.mark.invariant(10)
@pytest.mark.report(45)
async def test_a_rotated_one_is_saved_before_anyone_uses_the_jwt(
    make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """While the new tokens are being saved, callers still get the old JWT."""
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


async def test_without_a_store_a_private_refresh_token_is_used(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """A token that never was in the store is renewed by refresh while the store is down."""
    store.down = {"lease"}
    auth = make_auth()
    await auth.token()
    clock.advance(PRESSING)
    await auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(24)
async def test_without_a_store_a_shared_refresh_token_is_let_be(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """A refresh token that others may hold too is not sent without the lease."""
    auth = make_auth()
    await auth.token()
    store.down = {"lease"}
    clock.advance(PRESSING)
    await auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


@pytest.mark.invariant(24)
async def test_a_private_token_that_was_put_into_the_store_is_private_no_more(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """A refresh token that was marked in the store is not sent from memory after another client spent it."""
    store.down = {"lease"}
    auth = make_auth()
    await auth.token()
    store.down = set()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.status(429), times=1)
    await auth.token()
    await make_auth().token()
    assert sandbox.counters.refreshes_ok == 1

    store.down = {"lease", "load"}
    clock.advance(61)
    await auth.token()
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(9)
@pytest.mark.invariant(24)
async def test_a_save_that_was_refused_may_have_been_done(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A refresh token is sent once, though a save was done, its answer was lost, and the second try refused."""
    auth, key = make_auth(), StoreKey(sandbox.base_url, sandbox.client_id)

    async def lose_the_answer(record: TokenRecord) -> None:
        store.before_save, store.refuses_saves, store.down = None, True, {"load"}
        assert await store.inner.save(key, record, store.leases[-1].inner)

    store.before_save = lose_the_answer
    await auth.token()
    store.refuses_saves, store.down = False, set()
    clock.advance(PRESSING)
    await make_auth().token()
    assert sandbox.counters.refreshes_ok == 1

    store.down = {"lease", "load"}
    await auth.token()
    assert sandbox.counters.reuses == 0
