"""When a refresh takes the store's lease, and how it waits for one that is taken (invariant 24)."""

from __future__ import annotations

import contextlib
import math

from collections.abc import Callable

import anyio
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    Event,
    LeaseAwaited,
    MemoryTokenStore,
    RenewalPolicy,
)
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import MakeAuth
from tests.support.limits import HANG
from tests.support.loops import until
from tests.support.policies import DUE, PRESSING
from tests.support.refreshes import renew
from tests.support.scripted_store import ScriptedStore, SharingStore


#: Seconds within which a lease that was given back is taken.
SOON = 0.32


@pytest.fixture(name="store", params=[SharingStore, ScriptedStore])
def _store(request: pytest.FixtureRequest, clock: ManualClock) -> ScriptedStore:
    """Return a store of each protocol."""
    store: ScriptedStore = request.param(clock)
    return store


@pytest.mark.invariant(24)
async def test_a_good_record_takes_one_command(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A client that starts with a good token in the store looks once, and takes no lease."""
    await make_auth().token()
    store.calls.clear()
    await make_auth().token()

    assert store.calls in (["look"], ["load"])
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(24)
@pytest.mark.report(153)
async def test_a_store_that_can_only_be_read_is_enough(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A good token is taken over from a store that can't be written, and nothing is reported of it."""
    await make_auth().token()
    store.down = {"lease", "save", "clear"}
    auths = [make_auth() for _ in range(3)]
    for auth in auths:
        await auth.token()

    assert sandbox.counters.exchanges == 1
    assert not any(auth.status().store_failing for auth in auths)


@pytest.mark.invariant(24)
async def test_a_renewal_of_need_looks_again_behind_the_lease(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """What another client saved between the look and the lease is used, and nobody is asked for credentials."""
    asked = 0

    def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        return sandbox.credentials

    sandbox.refresh_lifetime = 600.0
    first, other = make_auth(), make_auth(from_vault)
    await first.token()
    await other.token()
    clock.advance(PRESSING)

    async def renew_first() -> None:
        store.before_lease = None
        await first.token()

    store.before_lease = renew_first
    token = await other.token()

    assert token.jwt.reveal() == sandbox.issued_jwts[-1]
    assert sandbox.counters.exchanges == 2
    assert asked == 1


async def _pass_time(clock: ManualClock, each: Callable[[], None] = lambda: None) -> None:
    """Wake what sleeps on *clock*, and call *each* before, until cancelled."""
    while True:
        await clock.wait_until_asleep()
        each()
        clock.advance(clock.next_wake or 0.0)


def _with(
    lease_wait: Callable[[RenewalPolicy, int, float], float], jitter: float
) -> Callable[[RenewalPolicy, int, float], float]:
    return lambda policy, looks, _: lease_wait(policy, looks, jitter)


@pytest.mark.invariant(24)
@pytest.mark.report(151)
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
async def test_a_wait_looks_less_and_less_often(
    make_auth: MakeAuth, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch, jitter: float
) -> None:
    """A client that waits 5 s for the lease sends some 30 commands, and takes it soon after it is free."""
    lease_wait = RenewalPolicy.lease_wait
    monkeypatch.setattr(RenewalPolicy, "lease_wait", _with(lease_wait, jitter))
    clock = ManualClock()
    store.inner = MemoryTokenStore(clock=clock)
    store.busy = True
    end = clock.monotonic() + 5.0
    commands, taken_at = 0, 0.0

    def free() -> None:
        nonlocal commands
        if store.busy and clock.monotonic() >= end:
            store.busy, commands = False, len(store.calls)

    async def note() -> None:
        nonlocal taken_at
        taken_at = clock.monotonic()

    store.before_lease = note
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_time, clock, free)
            await make_auth(clock=clock).token()
            tasks.cancel_scope.cancel()

    can_tell = isinstance(store, SharingStore)
    waited = store.calls[:commands]
    # It is told with each look, or tries with each third one.
    assert store.calls[commands:].index("lease") <= (1 if can_tell else 3)
    assert waited.count("lease") == (0 if can_tell else math.ceil(waited.count("load") / 3))
    assert 15 <= commands <= (36 if can_tell else 48)
    assert taken_at - end <= 2 * SOON * (1 if can_tell else 2)


@pytest.mark.parametrize(
    ("outcome", "elapsed"), [("acquired", 3.0), ("served", 3.0), ("gave_up", 30.0)]
)
async def test_a_wait_for_the_lease_is_reported(
    make_auth: MakeAuth,
    store: ScriptedStore,
    events: list[Event],
    outcome: str,
    elapsed: float,
) -> None:
    """The event says how long a refresh waited while others had the lease, and how that ended."""
    clock = ManualClock()
    store.inner, ready = MemoryTokenStore(clock=clock), MemoryTokenStore(clock=clock)
    await make_auth(clock=clock, store=ready).token()
    store.busy = True
    end = clock.monotonic() + 3.0

    def change() -> None:
        if clock.monotonic() >= end:
            store.busy = outcome != "acquired"
            store.inner = ready if outcome == "served" else store.inner

    auth = make_auth(clock=clock)
    gives_up = pytest.raises(AuthError, match="another client has had the lease")
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_time, clock, change)
            with gives_up if outcome == "gave_up" else contextlib.nullcontext():
                await auth.token()
            tasks.cancel_scope.cancel()
    await auth.events_delivered()

    (awaited,) = [event for event in events if isinstance(event, LeaseAwaited)]
    assert awaited.outcome == outcome
    assert awaited.elapsed == pytest.approx(elapsed, abs=4 * SOON)


@pytest.mark.invariant(24)
async def test_ahead_of_need_a_lease_that_is_taken_is_not_waited_for(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """While another client renews, one whose token lives looks once a second, and adopts what comes of it."""
    first, other = make_auth(), make_auth()
    await first.token()
    token = await other.token()
    clock.advance(DUE + 60)
    store.busy = True
    store.calls.clear()
    began = clock.monotonic()
    for _ in range(20):
        assert (await renew(other)).jwt == token.jwt
    assert clock.monotonic() == began
    # One look, and a try for the lease if the store can't tell that it is taken.
    assert store.calls in (["look"], ["load", "lease"])

    store.busy = False
    await renew(first)
    clock.advance(1.0)
    store.calls.clear()
    assert (await renew(other)).jwt.reveal() == sandbox.issued_jwts[-1]
    assert store.calls in (["look"], ["load"])
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(27)
async def test_ahead_of_need_a_store_that_fails_has_time_to_come_back(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """For half of the time ahead of need a renewal waits for the store; after that the client logs in by itself."""
    auth = make_auth()
    await auth.token()
    for outage, exchanges in (({"look", "load", "lease"}, (1, 1)), ({"lease"}, (2, 1))):
        clock.advance(DUE)
        store.down = outage
        for _ in range(20):
            await renew(auth)
            clock.advance(1.0)
        assert auth.status().store_failing
        assert sandbox.counters.exchanges == sum(exchanges) - 1
        if exchanges == (1, 1):
            store.down = set()
        else:
            clock.advance(70.0)
        await renew(auth)
        assert (sandbox.counters.connects, sandbox.counters.refreshes) == exchanges


@pytest.mark.invariant(24)
async def test_a_renewal_is_left_to_others_until_callers_wait(
    make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """The pause of a second ends when callers begin to need the next token."""
    clock = ManualClock()
    store.inner = MemoryTokenStore(clock=clock)
    auth = make_auth(clock=clock)
    await auth.token()
    # A tenth of a second before callers wait.
    clock.advance((auth.status().expires_in or 0.0) - 30.1)
    store.busy = True
    await renew(auth)
    assert clock.next_wake is None

    clock.advance(0.2)

    def free() -> None:
        store.busy = False

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_time, clock, free)
            await auth.token()
            tasks.cancel_scope.cancel()

    assert auth.status().renewals == 1


async def test_keep_fresh_leaves_the_renewal_to_the_client_that_has_the_lease(
    make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A `keep_fresh` looks once a second meanwhile."""
    clock = ManualClock()
    store.inner = MemoryTokenStore(clock=clock)
    auth = make_auth(clock=clock)
    await auth.token()
    store.busy = True
    clock.advance(DUE + 60)
    store.calls.clear()
    began = clock.monotonic()
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_time, clock)
            tasks.start_soon(auth.keep_fresh)
            await until(lambda: clock.monotonic() >= began + 5.0)
            tasks.cancel_scope.cancel()

    looks = [call for call in store.calls if call != "lease"]
    assert len(looks) == pytest.approx(clock.monotonic() - began, abs=1.5)
