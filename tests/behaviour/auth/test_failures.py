"""What is remembered of a login that failed, for how long, and when the server is asked again."""

from __future__ import annotations

import httpx
import pytest

from taxizer_async import (
    AuthError,
    ConfigurationError,
    Credentials,
    CredentialsRejectedError,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import FleetFactory, MakeAuth
from tests.support.policies import LIFETIME, ONE_TRY


@pytest.mark.invariant(21)
@pytest.mark.report(76, 78)
async def test_wrong_credentials_are_sent_once(sandbox: Sandbox, fleet: FleetFactory) -> None:
    """Fifty waiters and two hundred later calls get their own refusal from one Connect."""
    sandbox.connect_latency = 0.2
    auth = TaxizerAuth(Credentials("sandbox-client", "wrong"), base_url=sandbox.base_url)
    async with fleet(auth) as clients:
        errors = await clients.send(50) + await clients.send(200)

    assert sandbox.counters.connects == 1
    assert len({id(error) for error in errors}) == 250
    assert all(isinstance(error, CredentialsRejectedError) for error in errors)
    assert "the last attempt failed" in str(errors[-1])
    assert "/v1/Auth/Connect" in str(errors[-1])


@pytest.mark.invariant(21)
async def test_a_refused_pair_is_tried_again_after_a_minute(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """Credentials that were wrong are sent again after 60 s, as the server may have changed."""
    sandbox.change_secret("the old one")
    auth = make_auth(Credentials("sandbox-client", "the new one"))
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    sandbox.change_secret("the new one")
    clock.advance(59)
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    clock.advance(1)

    await auth.token()
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(21)
@pytest.mark.report(76)
async def test_a_changed_secret_is_tried_at_once(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A refused pair is not sent again for 60 s; one that has changed is, after a second."""
    secrets = ["wrong"]

    def current() -> Credentials:
        return Credentials("sandbox-client", secrets[-1])

    auth = make_auth(current)
    for _ in range(20):
        with pytest.raises(CredentialsRejectedError):
            await auth.token()
        clock.advance(1)
    assert sandbox.counters.connects == 1

    secrets.append(sandbox.credentials.client_secret.reveal())
    await auth.token()
    assert sandbox.counters.connects_ok == 1


@pytest.mark.invariant(21)
@pytest.mark.report(47, 78)
async def test_an_outage_fails_callers_at_once_until_the_next_try(
    sandbox: Sandbox, clock: ManualClock, aging_auth: TaxizerAuth
) -> None:
    """Without a live token callers get the cause and the time of the next try, which succeeds."""
    await aging_auth.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))
    with pytest.raises(TokenEndpointUnavailableError) as first:
        await aging_auth.token()
    tried = sandbox.counters.exchanges
    with pytest.raises(TokenEndpointUnavailableError) as second:
        await aging_auth.token()

    assert sandbox.counters.exchanges == tried
    assert first.value is not second.value
    assert first.value.status_code == second.value.status_code == 503
    assert "the next try is at" in str(first.value)
    assert "the last attempt failed" in str(second.value)
    assert second.value.retry_at is not None
    assert second.value.retryable

    sandbox.heal()
    clock.advance(1)
    await aging_auth.token()
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (2, 1)


@pytest.mark.invariant(21)
@pytest.mark.report(111)
async def test_outages_are_remembered_for_longer_and_longer(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """The server is asked again after 1 s, 2 s, 4 s … and then every 5 s."""
    auth = make_auth(policy=ONE_TRY)
    sandbox.fail("connect", Fault.status(500))
    moments = []
    for second in range(23):
        before = sandbox.counters.connects
        with pytest.raises(TokenEndpointUnavailableError):
            await auth.token()
        if sandbox.counters.connects > before:
            moments.append(second)
        clock.advance(1)

    assert moments == [0, 1, 3, 7, 12, 17, 22]


@pytest.mark.invariant(22)
async def test_a_login_ends_with_its_time(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A login is attempted for 30 s, at most 4 s apart, and then fails with one typed error."""
    made = 0

    def http_client() -> httpx.AsyncClient:
        nonlocal made
        made += 1
        return httpx.AsyncClient()

    sandbox.fail("connect", Fault.status(500))
    began = clock.monotonic()
    with pytest.raises(TokenEndpointUnavailableError):
        await make_auth().token()
    assert 26 <= clock.monotonic() - began <= 30
    assert 10 <= sandbox.counters.connects <= 20

    sandbox.stop()
    with pytest.raises(TokenEndpointUnavailableError):
        await make_auth(http_client=http_client).token()
    assert 10 <= made <= 20


@pytest.mark.invariant(21)
@pytest.mark.report(125)
async def test_forget_forgets_failures(sandbox: Sandbox, clock: ManualClock) -> None:
    """After `forget` a refused pair is sent again at once."""
    sandbox.fail("connect", Fault.status(400), times=1)
    auth = TaxizerAuth(
        Credentials(sandbox.client_id, sandbox.credentials.client_secret),
        base_url=sandbox.base_url,
        clock=clock,
    )
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    await auth.forget()

    await auth.token()
    assert sandbox.counters.connects == 2


async def test_credentials_are_asked_for_anew_for_each_login(
    sandbox: Sandbox, make_auth: MakeAuth
) -> None:
    """A credentials callable is called once per login."""
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
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """When the callable returns another clientId, the login and the record are for that one."""
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


@pytest.mark.invariant(21)
async def test_a_vault_that_is_down_is_backed_off(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """An error of a credentials callable is reported by its class, remembered, and retried later."""
    down = True
    asked = 0

    def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        if down:
            raise OSError("canary")
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


@pytest.mark.invariant(21)
async def test_a_refusal_is_remembered_through_another_failure(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """A refused pair is not sent again just because its callable failed in between."""
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


@pytest.mark.invariant(9)
async def test_a_broken_factory_keeps_the_refresh_token(
    sandbox: Sandbox, make_auth: MakeAuth, clock: ManualClock
) -> None:
    """If no HTTP client can be made, nothing was sent and the refresh token stays good."""
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
