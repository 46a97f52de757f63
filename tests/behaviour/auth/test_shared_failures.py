"""What the clients of a store spare each other when no token can be had (invariant 21)."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    CredentialsRejectedError,
    Event,
    ExchangeFailed,
    LoggedIn,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from taxizer_async.stores import StoreKey, StoreView
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import MakeAuth
from tests.support.limits import HANG
from tests.support.loops import until
from tests.support.policies import DUE
from tests.support.refreshes import renew
from tests.support.scripted_store import SharingStore


WRONG = Credentials("sandbox-client", "wrong")
#: So that no test waits for the pauses of a login by the machine's clock.
BRIEF = RenewalPolicy(exchange_timeout=5.0)


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> SharingStore:
    return SharingStore(clock)


async def _failure(auth: TaxizerAuth) -> AuthError:
    with pytest.raises(AuthError) as caught:
        await auth.token()
    return caught.value


def _facts(error: AuthError) -> tuple[Any, ...]:
    message = str(error).partition("; the next try")[0]
    return type(error), message, error.endpoint, error.status_code, error.retryable


@pytest.mark.invariant(21)
@pytest.mark.report(151)
async def test_a_wrong_pair_fails_once_for_all(
    sandbox: Sandbox, make_auth: MakeAuth, events: list[Event]
) -> None:
    """A refusal of the credentials spares every other client that has the same ones its try."""
    auths = [make_auth(WRONG) for _ in range(3)]
    errors = [await _failure(auth) for auth in auths]
    for auth in auths:
        await auth.events_delivered()

    assert sandbox.counters.connects == 1
    assert {_facts(error) for error in errors} == {_facts(errors[0])}
    assert isinstance(errors[0], CredentialsRejectedError)
    assert {error.retry_at for error in errors} == {errors[0].retry_at}
    asked = [event.kind for event in events if isinstance(event, ExchangeFailed)]
    assert asked == ["connect", None, None]


async def test_a_refusal_takes_neither_a_lease_nor_a_try(
    make_auth: MakeAuth, store: SharingStore
) -> None:
    """One look into the store is enough to fail."""
    await _failure(make_auth(WRONG))
    store.calls.clear()
    await _failure(make_auth(WRONG))

    assert store.calls == ["look"]


async def test_a_refusal_is_served_for_as_long_as_where_it_happened(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A client that comes later fails for the rest of the minute only."""
    await _failure(make_auth(WRONG))
    clock.advance(50)
    late = make_auth(WRONG)
    await _failure(late)
    clock.advance(9)
    await _failure(late)
    assert sandbox.counters.connects == 1

    clock.advance(2)
    await _failure(late)
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(21)
async def test_another_secret_is_tried(sandbox: Sandbox, make_auth: MakeAuth) -> None:
    """A client with another secret is not concerned, and its token serves all."""
    await _failure(make_auth(WRONG))
    token = await make_auth().token()

    assert sandbox.counters.connects == 2
    assert (await make_auth(WRONG).token()).jwt == token.jwt


async def test_a_success_drops_the_failure(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore
) -> None:
    """A failure is not kept beside the token that came after it."""
    await _failure(make_auth(WRONG))
    await make_auth().token()
    key = StoreKey(sandbox.base_url, sandbox.client_id)

    assert (await store.look(key)).failure is None


@pytest.mark.report(151)
async def test_credentials_from_a_callable_share_refusals(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore
) -> None:
    """A callable is asked whether it has other credentials by now, and only then is there a try."""
    pair = WRONG
    asked = 0

    async def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        return pair

    await _failure(make_auth(from_vault))
    other = make_auth(from_vault)
    store.calls.clear()
    await _failure(other)
    assert (sandbox.counters.connects, asked) == (1, 2)
    assert "lease" not in store.calls

    pair = sandbox.credentials
    await anyio.lowlevel.checkpoint()
    third = make_auth(from_vault)
    await third.token()
    assert (sandbox.counters.connects, asked) == (2, 3)


async def test_a_callable_is_asked_before_the_lease_is_taken(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, store: SharingStore
) -> None:
    """A client that had a token fails without the lease if others found that its pair is wrong by now."""
    sandbox.refresh_lifetime = 600.0
    pair = sandbox.credentials
    auths = [make_auth(lambda: pair) for _ in range(2)]
    for auth in auths:
        await auth.token()
    sandbox.change_secret("another")
    clock.advance(1_000)
    await _failure(auths[0])
    store.calls.clear()
    await _failure(auths[1])

    assert sandbox.counters.connects == 2
    assert "lease" not in store.calls


async def test_a_callable_is_asked_again_for_a_refusal_that_was_shared(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """Credentials that were changed after another client was refused are tried within a second or so."""
    pair = WRONG
    await _failure(make_auth(lambda: pair))
    other = make_auth(lambda: pair)
    await _failure(other)
    pair = sandbox.credentials
    clock.advance(1.5)

    await other.token()
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(21)
@pytest.mark.report(151)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(503), TokenEndpointUnavailableError),
        (Fault.status(429), TokenEndpointUnavailableError),
        (Fault.status(500, headers={"Retry-After": "20"}), TokenEndpointUnavailableError),
        (Fault.status(200, body="{}"), TokenResponseError),
    ],
    ids=["503", "429", "Retry-After", "JSON"],
)
async def test_an_outage_that_was_answered_fails_once_for_all(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, fault: Fault, kind: type[AuthError]
) -> None:
    """What an endpoint answered another client would be answered, too, so it is spared the try."""
    sandbox.fail("connect", fault)
    first = await _failure(make_auth())
    connects = sandbox.counters.connects
    other = await _failure(make_auth())

    assert sandbox.counters.connects == connects
    assert isinstance(other, kind)
    assert _facts(other) == _facts(first)
    sandbox.heal()
    clock.advance(31)
    await make_auth().token()


async def test_a_shared_outage_is_backed_off_by_all(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """The pause doubles with each failure of any client, and not for each client anew."""
    sandbox.fail("connect", Fault.status(200, body="{}"))
    auths = [make_auth() for _ in range(3)]
    pauses = []
    for _ in range(4):
        # Each time another one tries.
        auths = [*auths[1:], auths[0]]
        errors = [await _failure(auth) for auth in auths]
        assert all(error.retry_at is not None for error in errors)
        pauses.append(
            max(error.retry_at.timestamp() - clock.wall() for error in errors if error.retry_at)
        )
        clock.advance(pauses[-1] + 0.001)

    assert sandbox.counters.connects == 4
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 5.0], abs=0.01)


class _Dead(httpx.AsyncBaseTransport):
    """A network on which only this machine is cut off; notes how often it was tried."""

    def __init__(self, problem: type[httpx.TransportError] = httpx.ConnectError) -> None:
        self.tries = 0
        self._problem = problem

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.tries += 1
        msg = "cut off"
        raise self._problem(msg, request=request)


@pytest.mark.invariant(21)
@pytest.mark.parametrize(
    "problem", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ReadError]
)
async def test_what_only_one_machine_may_see_is_not_shared(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore, problem: type[httpx.TransportError]
) -> None:
    """A client that gets no answer fails by itself; the next one tries."""
    dead = _Dead(problem)
    sick = make_auth(http_client=lambda: httpx.AsyncClient(transport=dead), policy=BRIEF)
    error = await _failure(sick)

    assert isinstance(error, TokenEndpointUnavailableError)
    assert dead.tries > 2
    assert store.shared == []
    await make_auth().token()
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(21)
@pytest.mark.report(151)
async def test_the_lease_is_given_back_between_such_tries(sandbox: Sandbox) -> None:
    """A machine that is cut off does not keep others from their token, and takes it over."""
    store, dead = MemoryTokenStore(), _Dead()
    sick, other = (
        TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store, http_client=client)
        for client in (lambda: httpx.AsyncClient(transport=dead), None)
    )
    tokens: list[str] = []

    async def log_in() -> None:
        tokens.append((await sick.token()).jwt.reveal())

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_in)
            await until(lambda: dead.tries)
            tokens.append((await other.token()).jwt.reveal())

    assert tokens == [sandbox.issued_jwts[0]] * 2
    assert sick.status().adoptions == 1


async def test_a_wait_after_such_a_try_is_long_enough_for_others(
    make_auth: MakeAuth, store: SharingStore, clock: ManualClock
) -> None:
    """The lease is free for as long as the longest pause between two looks of another client."""
    released: list[float] = []
    gaps: list[float] = []

    async def note_release() -> None:
        released.append(clock.monotonic())

    store.before_release = note_release

    class Dead(_Dead):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if released:
                gaps.append(clock.monotonic() - released[-1])
            return await super().handle_async_request(request)

    dead = Dead()
    await _failure(make_auth(http_client=lambda: httpx.AsyncClient(transport=dead)))

    assert len(gaps) > 5
    assert min(gaps) >= 0.25 * 1.25
    # They double from a quarter of a second, and jitter shortens them.
    assert all(
        gap < most + 0.01 for gap, most in zip(gaps, [0.32, 0.5, 1.0, 2.0, 4.0], strict=False)
    )


async def test_a_login_after_such_tries_took_as_long_as_all_of_them(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, events: list[Event]
) -> None:
    """The event counts from the first try, though the lease was given back in between."""
    dead = _Dead()

    def http_client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=dead if dead.tries < 3 else None)

    auth = make_auth(http_client=http_client)
    began = clock.monotonic()
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            clock.advance(2.0)
    await auth.events_delivered()

    (event,) = [event for event in events if isinstance(event, LoggedIn)]
    assert event.elapsed == pytest.approx(clock.monotonic() - began, abs=0.01)
    assert event.elapsed > 2.9


async def test_an_outage_is_tried_under_one_lease(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore
) -> None:
    """While the server asks for patience the lease is kept, so that others do not ask it, too."""
    sandbox.fail("connect", Fault.status(503), times=3)
    await make_auth().token()

    assert sandbox.counters.connects == 4
    assert store.calls.count("lease") == 1


async def test_a_failure_ahead_of_need_is_shared_among_those_who_have_time(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """While a token lives, one client's attempt at its renewal is enough for a moment."""
    auths = [make_auth() for _ in range(3)]
    for auth in auths:
        await auth.token()
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))
    clock.advance(DUE + 60)
    for auth in auths:
        await renew(auth)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert all(auth.status().last_error for auth in auths)


@pytest.mark.invariant(21)
async def test_a_failure_ahead_of_need_is_no_answer_for_those_in_need(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A client without a token does not fail because another, which has one, tried once."""
    first, needy = make_auth(), make_auth()
    await first.token()
    await needy.token()
    sandbox.fail("refresh", Fault.status(503), times=1)
    clock.advance(DUE + 60)
    await renew(first)
    assert first.status().last_error is not None

    sandbox.revoke()
    async with httpx.AsyncClient(auth=needy, base_url=sandbox.base_url) as client:
        assert (await client.post("/v1/Devices/Register")).status_code == 200
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)


async def test_a_sick_refresh_endpoint_is_passed_over_by_all(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """After one client found AppRefreshToken sick, the next try of another is a login."""
    first, other = make_auth(), make_auth()
    await first.token()
    await other.token()
    sandbox.fail("refresh", Fault.status(429))
    clock.advance(DUE + 60)
    await renew(first)
    await renew(other)
    clock.advance(3)
    await renew(other)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)


async def test_a_good_refresh_token_goes_before_a_refusal_of_the_pair(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, store: SharingStore
) -> None:
    """A client whose old secret was refused renews with the refresh token that is in the store."""
    first, other = make_auth(), make_auth()
    await first.token()
    await other.token()
    sandbox.change_secret("another")
    sandbox.fail("refresh", Fault.status(429), times=1)
    clock.advance(1_000)
    assert isinstance(await _failure(first), CredentialsRejectedError)
    assert store.shared[-1].kind == "refused"

    await other.token()
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 2)


@pytest.mark.invariant(21)
async def test_forget_clears_what_was_shared(sandbox: Sandbox, make_auth: MakeAuth) -> None:
    """After `forget()` another client tries."""
    sandbox.fail("connect", Fault.status(401), times=1)
    auth = make_auth()
    await _failure(auth)
    await auth.forget()

    await make_auth().token()
    assert sandbox.counters.connects == 2


async def test_a_failure_that_is_saved_during_forget_is_not_left_behind(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore
) -> None:
    """A failure that a refresh saves a moment after `forget()` cleared the store is cleared, too."""
    sandbox.fail("connect", Fault.status(401), times=1)
    auth = make_auth()

    async def forget() -> None:
        store.after_save_failure = None
        await auth.forget()
        await store.inner.save_failure(key, store.shared[-1], store.leases[-1].inner)

    key = StoreKey(sandbox.base_url, sandbox.client_id)
    store.after_save_failure = forget
    await auth.token()

    assert sandbox.counters.connects == 2


async def test_no_secret_is_in_what_is_shared(make_auth: MakeAuth, store: SharingStore) -> None:
    """A refusal names the pair by a hash that needs the secret, and nothing else tells of it."""
    pairs = [Credentials("sandbox-client", "c4n4ry-wrong"), WRONG]
    for pair in pairs:
        await _failure(make_auth(pair))

    first, second = store.shared
    assert "c4n4ry" not in repr(first)
    assert first.pair is not None
    assert second.pair is not None
    assert len(first.pair) == 64
    assert first.pair != second.pair


async def test_a_store_that_can_not_keep_a_failure_costs_nothing_else(
    sandbox: Sandbox, make_auth: MakeAuth, store: SharingStore
) -> None:
    """A failure that can't be saved is a failure all the same, and the next client tries."""
    store.down = {"save_failure"}
    errors = [await _failure(make_auth(WRONG)) for _ in range(2)]

    assert all(isinstance(error, CredentialsRejectedError) for error in errors)
    assert sandbox.counters.connects == 2


class _KeepingStore(SharingStore):
    """Drops no failure, and says of each that it lasts for *remaining* seconds."""

    remaining = 0.0

    async def look(self, key: StoreKey, /) -> StoreView:
        view = await super().look(key)
        if not self.shared:
            return view
        return attrs.evolve(view, failure=attrs.evolve(self.shared[-1], remaining=self.remaining))


@pytest.mark.parametrize("remaining", [62.0, 1e9, 0.0, -0.5])
async def test_a_failure_that_nobody_remembers_for_so_long_is_none(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock, remaining: float
) -> None:
    """A store that is damaged, or does not drop failures, keeps nobody from a login for ever."""
    store = _KeepingStore(clock)
    await _failure(make_auth(WRONG, store=store))
    sandbox.change_secret("wrong")
    store.remaining = remaining

    await make_auth(WRONG, store=store).token()
    assert sandbox.counters.connects == 2
