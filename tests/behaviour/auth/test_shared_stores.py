"""What a refresh does with a store that others share: leases, marks, fenced saves, and a store that fails."""

from __future__ import annotations

import json

from pathlib import Path

import anyio
import pytest

from taxizer_async import (
    Adopted,
    AuthError,
    Event,
    LoggedIn,
    MemoryTokenStore,
    Renewed,
    StoreFailed,
    StoreRecovered,
    TokenAwaited,
)
from taxizer_async._token.guarded_store import GuardedStore
from taxizer_async.stores import StoreKey, StoreView, TokenRecord
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, MakeAuth, auth_of, client_of
from tests.support.limits import HANG
from tests.support.loops import until
from tests.support.policies import LIFETIME, PRESSING
from tests.support.scripted_store import ScriptedStore, SharingStore


@pytest.mark.report(46)
async def test_each_way_to_a_token_is_counted(
    make_auth: MakeAuth, clock: ManualClock, events: list[Event]
) -> None:
    """A login, a renewal and an adoption are in the status, and each is reported once."""
    first, second = make_auth(), make_auth()
    assert await first.token() == await second.token()
    clock.advance(PRESSING)
    await second.token()

    assert (first.status().logins, first.status().renewals) == (1, 0)
    status = second.status()
    assert (status.logins, status.renewals, status.adoptions) == (0, 1, 1)
    await first.events_delivered()
    await second.events_delivered()
    ways = [type(event) for event in events if not isinstance(event, TokenAwaited)]
    assert ways == [LoggedIn, Adopted, Renewed]


@pytest.mark.invariant(24)
@pytest.mark.report(81, 82)
async def test_a_sibling_adopts_what_another_renewed(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """Before it refreshes, a client reads the store again, so a rotated token is never spent twice."""
    first, second = make_auth(), make_auth()
    await first.token()
    await second.token()
    clock.advance(PRESSING)
    renewed = await first.token()

    assert (await second.token()).jwt == renewed.jwt
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(24)
@pytest.mark.report(81)
async def test_a_401_for_a_token_that_a_sibling_replaced_renews_nothing(
    sandbox: Sandbox, make_auth: MakeAuth
) -> None:
    """Two clients with one revoked token cause one renewal between them."""
    first, second = make_auth(), make_auth()
    await first.token()
    await second.token()
    sandbox.revoke()
    for auth in (first, second):
        async with client_of(auth) as client:
            assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(24)
async def test_a_waiter_for_the_lease_adopts_what_its_holder_saves(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """While another client has the lease, a waiter looks into the store, and adopts what is saved there."""
    store.busy = True
    waiter, holder = make_auth(clock=None), make_auth(store=store.inner)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter.token)
        await until(lambda: store.refused_leases)
        token = await holder.token()

    assert await waiter.token() == token
    assert waiter.status().adoptions == 1
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(24)
@pytest.mark.report(37, 90, 110)
async def test_a_lease_that_never_ends_fails_the_refresh(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """While the store answers nothing is sent without the lease: callers get a retryable error."""
    auth = make_auth()
    await auth.token()
    saves = len(store.saved)
    clock.advance(1_000)
    store.busy = True
    began = clock.monotonic()
    with pytest.raises(AuthError, match="had the lease of the token store for 30 s") as caught:
        await auth.token()

    assert caught.value.retryable
    assert clock.monotonic() - began == pytest.approx(30, abs=0.01)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)
    assert len(store.saved) == saves


@pytest.mark.invariant(27)
async def test_a_store_that_leases_but_can_not_be_read_fails_nothing(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A lease that others have is not waited for longer than 5 s if what they save can't be read."""
    auth = make_auth()
    await auth.token()
    saves = len(store.saved)
    clock.advance(1_000)
    store.busy, store.down = True, {"load"}
    began = clock.monotonic()
    await auth.token()

    assert clock.monotonic() - began == pytest.approx(5.5, abs=0.5)
    # Others may have the refresh token.
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)
    assert len(store.saved) == saves


@pytest.mark.invariant(27)
async def test_a_lease_that_a_slow_store_tells_of_is_not_waited_for(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is read too slowly may say that others have the lease: nobody waits for them."""
    monkeypatch.setattr(GuardedStore, "is_unreadable", True)
    store = SharingStore(clock)
    store.busy = True
    began = clock.monotonic()
    await make_auth(store=store).token()

    assert clock.monotonic() == began
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(22)
async def test_a_look_that_takes_all_the_time_blames_nobody_elses_lease(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the 30 s are over after a look at a store with a free lease, there was no time left."""
    store = SharingStore(clock)
    look = store.look

    async def look_for_long(key: StoreKey, /) -> StoreView:
        clock.advance(31)
        return await look(key)

    monkeypatch.setattr(store, "look", look_for_long)
    with pytest.raises(AuthError, match="there was no time left to ask it"):
        await make_auth(store=store).token()

    assert sandbox.counters.exchanges == 0


@pytest.mark.invariant(27)
async def test_a_store_that_can_not_be_read_is_still_written(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """However long the record was unreadable, as one with another key is, a login replaces it."""
    store.down, began = {"load"}, clock.monotonic()

    async def busy_until_it_is_unreadable() -> None:
        store.busy = clock.monotonic() - began < 5

    store.before_lease = busy_until_it_is_unreadable
    await make_auth().token()

    assert clock.monotonic() - began >= 5
    assert sandbox.counters.connects == 1
    assert len(store.saved) == 1


@pytest.mark.invariant(24)
async def test_a_look_that_failed_long_ago_lets_nobody_pass_a_lease(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """What an earlier refresh could not read says nothing of a store in which nobody looked since."""
    auth = make_auth()
    store.down = {"load"}
    await auth.token()
    clock.advance(1_000)
    store.busy = True

    async def be_read_again() -> None:
        store.down = set()

    store.before_lease = be_read_again
    with pytest.raises(AuthError, match="had the lease of the token store for 30 s"):
        await auth.token()

    assert sandbox.counters.connects == 1


@pytest.mark.invariant(24)
async def test_a_store_that_is_read_now_and_then_is_waited_for(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """While one look in 5 s is answered, nobody logs in without the lease."""
    auth = make_auth()
    await auth.token()
    clock.advance(1_000)
    store.busy, began = True, clock.monotonic()

    async def read_now_and_then() -> None:
        store.down = {"load"} if (clock.monotonic() - began) % 4 > 2 else set()

    store.before_lease = read_now_and_then
    with pytest.raises(AuthError, match="had the lease of the token store for 30 s"):
        await auth.token()

    assert sandbox.counters.connects == 1


async def test_a_store_that_asks_for_a_token_is_told(
    make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A store that asks for a token from within a login fails at once instead of waiting for ever."""
    auth = make_auth()
    problems: list[str] = []

    async def ask(_: TokenRecord) -> None:
        try:
            await auth.token()
        except RuntimeError as problem:
            problems.append(str(problem))

    store.before_save = ask
    with anyio.fail_after(HANG):
        await auth.token()

    assert "must not use the auth that it serves" in problems[0]


@pytest.mark.invariant(24)
@pytest.mark.report(87)
async def test_a_lost_lease_sends_nothing(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """If the lease is lost, so that the mark can't be written, the refresh token is not sent."""
    auth = make_auth()
    await auth.token()
    clock.advance(1_000)
    store.saved.clear()
    seen: list[tuple[bool, int]] = []

    async def lose_the_lease_twice(record: TokenRecord) -> None:
        store.refuses_saves = len(store.saved) < 2
        seen.append((record.refresh_spent, sandbox.counters.refreshes))

    store.before_save = lose_the_lease_twice
    await auth.token()

    # The mark, in vain; the mark, in vain; the mark; what came of it.
    assert seen == [(True, 0), (True, 0), (True, 0), (False, 1)]
    assert len(store.leases) == 1 + 3
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(22)
async def test_leases_that_are_lost_again_and_again_come_to_an_end(
    make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """A refresh that loses each of its leases begins no turn after its 30 s."""
    auth = make_auth()
    await auth.token()
    clock.advance(1_000)
    store.saved.clear()

    async def lose_the_lease(_: TokenRecord) -> None:
        store.refuses_saves = len(store.saved) < 60
        clock.advance(1)

    store.before_save = lose_the_lease
    with pytest.raises(AuthError) as caught:
        await auth.token()

    assert caught.value.retryable
    assert len(store.saved) == 30


@pytest.mark.invariant(25)
@pytest.mark.report(48, 86, 87)
async def test_a_late_save_gives_way_to_a_newer_token(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A client that lost the lease in mid-login adopts what its successor saved."""
    successor = make_auth(store=store.inner)
    late = make_auth()

    async def lose_the_lease(_: TokenRecord) -> None:
        store.before_save = None
        await store.leases[-1].inner.release()
        await successor.token()

    store.before_save = lose_the_lease
    token = await late.token()

    assert sandbox.counters.connects == 2
    assert token.jwt.reveal() == sandbox.issued_jwts[-1]
    assert late.status().adoptions == 1


async def test_a_late_save_without_a_successor_is_kept_here(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A token that could not be saved is used by its process alone."""
    auth = make_auth()
    store.refuses_saves = True
    await auth.token()
    store.refuses_saves = False

    assert auth.status().usable
    assert (await make_auth().token()).jwt.reveal() == sandbox.issued_jwts[-1]
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(25)
@pytest.mark.report(48, 86)
async def test_a_refused_loser_clears_nothing_of_the_winners(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """A client that lost the lease in mid-refresh, and is refused then, adopts what the winner saved."""
    store = MemoryTokenStore(clock=clock)
    loser, winner, other = (auth_of(sandbox, store=store, clock=clock) for _ in range(3))
    await loser.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", Fault.status(400))
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(loser.token)
            await gate.wait_until_async(1)
            # What a lease that ends by itself looks like.
            store._state.get().leases.clear()
            won = await winner.token()

    assert loser.status().adoptions == 1
    assert (await loser.token()).jwt == won.jwt
    exchanges = sandbox.counters.exchanges
    assert (await other.token()).jwt == won.jwt
    assert sandbox.counters.exchanges == exchanges


@pytest.mark.invariant(25)
async def test_a_record_belongs_to_one_client_id(sandbox: Sandbox, tmp_path: Path) -> None:
    """A record of another clientId under the name of ours is not adopted."""
    store = FileTokenStore(tmp_path)
    theirs = await auth_of(sandbox, store=store).token()
    (file,) = tmp_path.glob("*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"client_id": "another"}))

    assert await auth_of(sandbox, store=store).token() != theirs
    assert sandbox.counters.connects == 2


@pytest.mark.report(87)
async def test_a_lease_is_extended_while_the_exchange_runs(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A lease that wants a heartbeat gets it until the exchange is over, and no longer."""
    store.heartbeat = 0.01
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(make_auth().token)
            await gate.wait_until_async(1)
            await store.leases[0].third_beat.wait()
    beats = store.leases[0].beats
    await anyio.sleep(5 * store.heartbeat)

    assert store.leases[0].beats == beats


@pytest.mark.report(89)
async def test_a_lost_heartbeat_does_not_fail_the_exchange(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A login that loses its lease meanwhile still brings a token."""
    store.heartbeat = 0.001
    sandbox.connect_latency = 0.05
    auth = make_auth()
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            store.leases[0].lasts = False

    assert auth.status().usable
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(27)
@pytest.mark.parametrize("operations", [{"lease"}, {"load"}, {"save"}, {"load", "save", "lease"}])
async def test_a_store_that_is_down_costs_no_request(
    sandbox: Sandbox,
    make_auth: MakeAuth,
    store: ScriptedStore,
    events: list[Event],
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    operations: set[str],
) -> None:
    """Whatever fails in the store, callers get a token, it is told once, and the store is used again later."""
    store.down = operations
    auth = make_auth()
    for _ in range(3):
        await auth.token()
        clock.advance(PRESSING)
    await auth.events_delivered()
    assert auth.status().store_failing
    assert sandbox.counters.reuses == 0
    assert sum(isinstance(event, StoreFailed) for event in events) == 1
    assert ["OSError" in record.message for record in caplog.records] == [True]

    store.down = set()
    await auth.token()
    await auth.events_delivered()
    assert not auth.status().store_failing
    assert sum(isinstance(event, StoreRecovered) for event in events) == 1
    saved = store.saved[-1]
    assert (await make_auth().token()).jwt == saved.token.jwt


class SyncStore:
    """Has the methods of a store, but none can be awaited."""

    def __init__(self) -> None:
        self.calls = 0

    def lease(self, *_: object) -> None:
        self.calls += 1

    load = save = clear = lease


@pytest.mark.invariant(27)
@pytest.mark.report(31)
async def test_a_sync_store_is_told_and_costs_no_request(
    sandbox: Sandbox, events: list[Event]
) -> None:
    """A store with methods that are not async is reported once, and called no more than for the first login."""
    store = SyncStore()
    auth = auth_of(sandbox, store=store, on_event=events.append)
    async with client_of(auth) as client:
        for _ in range(3):
            assert (await client.post(PATH)).status_code == 200
    await auth.events_delivered()

    failed = [event for event in events if isinstance(event, StoreFailed)]
    assert [event.reason for event in failed] == ["TypeError"]
    assert auth.status().store_failing
    # A look, and a try for the lease.
    assert store.calls == 2
    assert sandbox.counters.exchanges == 1
