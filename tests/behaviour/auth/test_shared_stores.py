"""What a leader does when others share the store: leases, marks, fenced saves and stores that fail."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import (
    Adopted,
    AuthError,
    ConfigurationError,
    Credentials,
    LoggedIn,
    RenewalPolicy,
    Renewed,
    StoreFailed,
    StoreRecovered,
    TokenAwaited,
    TokenStoreError,
)
from taxizer_async.testing import Fault, ManualClock
from tests.support.limits import HANG
from tests.support.scripted_store import ScriptedStore

from .conftest import PRESSING


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import Event, TaxizerAuth
    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing import Sandbox


def _ways(events: list[Event]) -> list[type[Event]]:
    """Return how tokens were come by."""
    return [type(event) for event in events if not isinstance(event, TokenAwaited)]


async def test_another_processes_token_is_adopted(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], events: list[Event]
) -> None:
    """A second client of the store takes the first one's token, and says so."""
    first, other = make_auth(), make_auth()
    token = await first.token()
    await first.events_delivered()

    assert (await other.token()).jwt == token.jwt
    await other.events_delivered()
    assert sandbox.counters.exchanges == 1
    assert other.status().adoptions == 1
    assert _ways(events) == [LoggedIn, Adopted]


@pytest.mark.report(81)
@pytest.mark.report(82)
async def test_a_sibling_adopts_what_another_renewed(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
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


@pytest.mark.report(81)
async def test_a_401_for_a_token_that_a_sibling_replaced_renews_nothing(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth]
) -> None:
    """Two clients with one revoked token cause one renewal between them."""
    first, second = make_auth(), make_auth()
    await first.token()
    await second.token()
    sandbox.revoke()
    for auth in (first, second):
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            assert (await client.post("/v1/Devices/Register")).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_who_waits_for_a_lease_leaves_when_a_token_appears(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """While somebody has the lease, the store is looked into, and their token is enough."""
    await make_auth().token()
    store.busy = True
    await make_auth().token()

    assert sandbox.counters.exchanges == 1


@pytest.mark.report(37)
@pytest.mark.report(90)
@pytest.mark.report(110)
async def test_a_lease_that_never_ends_fails_the_refresh(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """While the store answers nobody logs in without the lease: callers get an error to retry on."""
    auth = make_auth()
    await auth.token()
    saves = len(store.saved)
    clock.advance(1_000)
    store.busy = True
    began = clock.monotonic()
    with pytest.raises(AuthError, match="had the lease of the token store for 30 s") as caught:
        await auth.token()

    assert caught.value.retryable
    assert 30 <= clock.monotonic() - began < 31
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)
    assert len(store.saved) == saves


@pytest.mark.parametrize("remaining", [100.0, 0.5])
async def test_a_living_token_is_not_waited_to_death(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], remaining: float
) -> None:
    """While another client keeps the lease, callers go on with the token that they have."""
    clock = ManualClock(start=time.time())
    store = ScriptedStore(clock)
    auth = make_auth(clock=clock, store=store, policy=RenewalPolicy(attempt_timeout=2.0))
    token = await auth.token()
    clock.advance((auth.status().expires_in or 0.0) - remaining)
    store.busy = True

    assert (await auth.token()).jwt == token.jwt
    assert sandbox.counters.exchanges == 1
    assert auth.status().usable


async def test_a_store_that_asks_for_a_token_is_told(
    make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """Who asks, from within a login, for what comes of it, fails at once instead of waiting for ever."""
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


@pytest.mark.report(87)
async def test_a_lost_lease_sends_nothing(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """If the mark can't be written as the lease is lost, the refresh token is not sent under it."""
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


@pytest.mark.report(48)
@pytest.mark.report(86)
@pytest.mark.report(87)
async def test_a_late_save_gives_way_to_a_newer_token(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
) -> None:
    """Who lost the lease in mid-login takes what its successor has saved."""
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
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A token that could not be saved is used by this process, which refreshes it itself."""
    auth = make_auth()
    store.refuses_saves = True
    await auth.token()
    store.refuses_saves = False

    assert auth.status().usable
    assert (await make_auth().token()).jwt.reveal() == sandbox.issued_jwts[-1]
    assert sandbox.counters.connects == 2


@pytest.mark.report(87)
async def test_a_lease_is_extended_while_the_exchange_runs(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
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
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """When the lease is lost meanwhile, the token still comes."""
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


@pytest.mark.parametrize("operations", [{"lease"}, {"load"}, {"save"}, {"load", "save", "lease"}])
async def test_a_store_that_is_down_costs_no_request(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    events: list[Event],
    clock: ManualClock,
    operations: set[str],
) -> None:
    """Whatever fails in the store, there is a token, it is said once, and the store is used again."""
    store.down = operations
    auth = make_auth()
    for _ in range(3):
        await auth.token()
        clock.advance(PRESSING)
    await auth.events_delivered()
    assert auth.status().store_failing
    assert sandbox.counters.reuses == 0
    assert sum(isinstance(event, StoreFailed) for event in events) == 1

    store.down = set()
    await auth.token()
    await auth.events_delivered()
    assert not auth.status().store_failing
    assert sum(isinstance(event, StoreRecovered) for event in events) == 1
    saved = store.saved[-1]
    assert (await make_auth().token()).jwt == saved.token.jwt


async def test_without_a_store_a_private_refresh_token_is_used(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A token that never was in the store is renewed by refresh while the store is down."""
    store.down = {"lease"}
    auth = make_auth()
    await auth.token()
    clock.advance(PRESSING)
    await auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_without_a_store_a_shared_refresh_token_is_let_be(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A refresh token that others may hold too is not sent without the lease."""
    auth = make_auth()
    await auth.token()
    store.down = {"lease"}
    clock.advance(PRESSING)
    await auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


async def test_forget_tells_when_the_store_keeps_the_token(
    make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A record that could not be dropped is an error; here the token is gone all the same."""
    auth = make_auth()
    await auth.token()
    store.down = {"clear"}
    with pytest.raises(TokenStoreError, match="try again when the store is back"):
        await auth.forget()

    assert not auth.status().usable


async def test_forget_during_a_refresh_brings_nothing_back(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """Neither the mark nor its removal nor a late save puts back what was forgotten."""
    auth = make_auth()
    await auth.token()
    clock.advance(1_000)

    async def forget(record: TokenRecord) -> None:
        store.before_save = None
        marks.append(record.refresh_spent)
        await auth.forget()

    marks: list[bool] = []
    store.before_save = forget
    await auth.token()
    assert marks == [True]
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)

    clock.advance(1_000)
    sandbox.fail("refresh", Fault.status(503), times=4)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            await auth.forget()
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes_ok) == (3, 0)

    async def forget_again(_: TokenRecord) -> None:
        store.before_save = None
        await auth.forget()

    await auth.forget()
    store.before_save = forget_again
    token = await auth.token()
    assert sandbox.counters.connects_ok == 5
    assert token.jwt.reveal() == sandbox.issued_jwts[-1]


async def test_credentials_are_asked_for_anew_for_each_login(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth]
) -> None:
    """A callable is asked once per Connect."""
    asked = 0

    async def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        return sandbox.credentials

    auth = make_auth(from_vault)
    for _ in range(3):
        await auth.token()
        await auth.token()
        await auth.forget()

    assert sandbox.counters.connects == 3
    assert asked == 3


async def test_another_client_id_is_another_token(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """When the callable returns another clientId, the login and the record are that one's."""
    names = iter(["another", "sandbox-client"])

    def rotated() -> Credentials:
        return Credentials(next(names), sandbox.credentials.client_secret)

    sandbox.fail("connect", Fault.status(503, headers={"Retry-After": "0"}), times=4)
    auth = make_auth(rotated)
    with pytest.raises(AuthError):
        await auth.token()
    clock.advance(2)
    await auth.token()

    assert sandbox.counters.connects_ok == 1
    assert (await make_auth().token()).jwt.reveal() == sandbox.issued_jwts[-1]


async def test_a_vault_that_is_down_is_backed_off(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """What a callable raises is told by its class, remembered, and tried again."""
    down = True
    asked = 0

    def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        if down:
            msg = "canary"
            raise OSError(msg)
        return sandbox.credentials

    auth = make_auth(from_vault)
    for call in (auth.token, auth.token, auth.forget):
        with pytest.raises(AuthError, match="credentials callable raised OSError") as caught:
            await call()
        assert "canary" not in str(caught.value)
        assert caught.value.retryable
    assert asked == 2

    down = False
    clock.advance(10)
    await auth.token()
    assert sandbox.counters.connects_ok == 1


async def test_a_broken_factory_keeps_the_refresh_token(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """If no HTTP client can be made nothing was sent, so the refresh token is still good."""
    broken = False

    def http_client() -> httpx.AsyncClient:
        return None if broken else httpx.AsyncClient()  # type: ignore[return-value]

    auth = make_auth(http_client=http_client)
    await auth.token()
    clock.advance(1_000)
    broken = True
    with pytest.raises(ConfigurationError, match="http_client returned NoneType"):
        await auth.token()
    broken = False
    clock.advance(10)
    await auth.token()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(46)
async def test_each_way_to_a_token_is_counted(
    make_auth: Callable[..., TaxizerAuth], clock: ManualClock, events: list[Event]
) -> None:
    """A login, a renewal and an adoption are in the status, and each is reported once."""
    first, second = make_auth(), make_auth()
    await first.token()
    await second.token()
    await first.events_delivered()
    await second.events_delivered()
    clock.advance(PRESSING)
    await second.token()

    assert (first.status().logins, first.status().renewals) == (1, 0)
    status = second.status()
    assert (status.logins, status.renewals, status.adoptions) == (0, 1, 1)
    await second.events_delivered()
    assert _ways(events) == [LoggedIn, Adopted, Renewed]


async def test_who_comes_during_forget_does_not_bring_the_token_back(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A record that is still there while the store is being cleared is not adopted once more."""
    auth = make_auth()
    old = await auth.token()
    adopted: list[bool] = []

    async def adopt() -> None:
        adopted.append((await auth.token()).jwt == old.jwt)

    store.before_clear = adopt
    await auth.forget()

    assert adopted == [False]
    assert not auth.status().usable
    assert (await auth.token()).jwt != old.jwt
    assert sandbox.counters.connects == 3


async def test_a_private_token_that_was_put_into_the_store_is_private_no_more(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    clock: ManualClock,
) -> None:
    """A refresh token whose mark went into the store is not sent from memory after another spent it."""
    store.down = {"lease"}
    auth = make_auth()
    await auth.token()
    store.down = set()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.status(429), times=1)
    await auth.token()
    await make_auth().token()
    assert sandbox.counters.refreshes_ok == 1

    store.down = {"lease"}
    clock.advance(61)
    await auth.token()
    assert sandbox.counters.reuses == 0


async def test_a_refusal_is_remembered_through_another_failure(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """A pair that was refused is not sent again because the vault was down in between."""
    vault_is_down = False

    def from_vault() -> Credentials:
        if vault_is_down:
            raise OSError
        return Credentials("sandbox-client", "wrong")

    auth = make_auth(from_vault)
    for down in (False, True, False):
        vault_is_down = down
        with pytest.raises(AuthError):
            await auth.token()
        clock.advance(5)

    assert sandbox.counters.connects == 1


async def test_who_waits_for_a_token_that_is_forgotten_gets_another(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A token that is forgotten while its lease is given back reaches no caller."""
    auth = make_auth()
    jwts: list[str] = []

    async def forget() -> None:
        store.before_release = None
        await auth.forget()

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    store.before_release = forget
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(take)

    assert sandbox.counters.connects == 2
    assert set(jwts) == {sandbox.issued_jwts[-1]}
