"""Nothing secret is seen when a login or a renewal fails, whatever the server says."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest

from taxizer_async import (
    AuthError,
    CredentialsRejectedError,
    Event,
    ExchangeFailed,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TaxizerClient,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import auth_of, client_of
from tests.support.canaries import ECHO, SECRET, Exposed
from tests.support.limits import HANG


SAID = f"{SECRET} and {ECHO}"
#: Of 30 s, so that a login makes two or three attempts.
POLICY = RenewalPolicy(backoff=20.0)
#: For a server that never answers.
HASTY = RenewalPolicy(backoff=20.0, attempt_timeout=0.2)

FAULTS = {
    "400-echo": (Fault.status(400, body=SAID), CredentialsRejectedError),
    "401-echo": (Fault.unauthorized(), CredentialsRejectedError),
    "500-echo": (Fault.status(500, body=SAID), TokenEndpointUnavailableError),
    "503-echo": (Fault.junk(SAID.encode(), status=503), TokenEndpointUnavailableError),
    "404-echo": (Fault.status(404, body=f"<html>{SAID}"), TokenResponseError),
    "html-echo": (Fault.status(200, body=f"<html>{SAID}"), TokenResponseError),
    "text-echo": (Fault.status(200, body=SAID), TokenResponseError),
    "json-string": (Fault.junk(f'"{SAID}"'.encode()), TokenResponseError),
    "json-list": (Fault.junk(f'["{SAID}"]'.encode()), TokenResponseError),
    "json-keys": (Fault.junk(f'{{"{SAID}": "{SAID}"}}'.encode()), TokenResponseError),
    "json-jwt": (Fault.junk(f'{{"jwtToken": "{SAID}"}}'.encode()), TokenResponseError),
    "json-types": (Fault.junk(f'{{"jwtToken": ["{SAID}"]}}'.encode()), TokenResponseError),
    "json-broken": (Fault.junk(f'{{"jwtToken": "{SAID}'.encode()), TokenResponseError),
    "not-unicode": (Fault.junk(SAID.encode() + b"\xff\xfe\xff"), TokenResponseError),
    "no-gzip": (Fault.junk(SAID.encode(), headers={"Content-Encoding": "gzip"}), AuthError),
    "truncated": (Fault.truncate(), TokenEndpointUnavailableError),
    "reset": (Fault.reset(), TokenEndpointUnavailableError),
    "dropped": (Fault.drop_after_processing(), TokenEndpointUnavailableError),
    "hang": (Fault.hang(), TokenEndpointUnavailableError),
}


each_fault = pytest.mark.parametrize(
    ("name", "policy"),
    [(name, HASTY if name == "hang" else POLICY) for name in FAULTS],
    ids=list(FAULTS),
)


@pytest.fixture(name="store")
def _store() -> MemoryTokenStore:
    return MemoryTokenStore()


@pytest.fixture(name="policy")
def _policy() -> RenewalPolicy:
    return POLICY


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(autojump=True)


@pytest.fixture(name="auth")
def _auth(
    sandbox: Sandbox,
    events: list[Event],
    store: MemoryTokenStore,
    policy: RenewalPolicy,
    clock: ManualClock,
) -> TaxizerAuth:
    return auth_of(sandbox, store=store, policy=policy, clock=clock, on_event=events.append)


@pytest.mark.invariant(22, 20)
@pytest.mark.report(67, 68)
@each_fault
async def test_nothing_is_seen_of_a_failed_login(
    sandbox: Sandbox, auth: TaxizerAuth, events: list[Event], exposed: Exposed, name: str
) -> None:
    """The error of a failed login, and the one that is served from memory, show no canary."""
    fault, kind = FAULTS[name]
    sandbox.fail("connect", fault)
    async with client_of(auth) as client:
        with pytest.raises(kind) as first:
            await client.get("/v1/x")
        with pytest.raises(kind) as second:
            await client.post("/v1/x", json={})
        with pytest.raises(kind) as third:
            await auth.token()
    await auth.events_delivered()

    assert "/v1/Auth/Connect" in str(first.value)
    assert (first.value.__cause__, first.value.__context__) == (None, None)
    assert events
    assert exposed(first.value, second.value, third.value, auth, auth.status(), *events) == []


@pytest.mark.invariant(20)
@pytest.mark.report(67, 68)
@each_fault
async def test_nothing_is_seen_of_a_failed_renewal(
    sandbox: Sandbox,
    auth: TaxizerAuth,
    events: list[Event],
    exposed: Exposed,
    store: MemoryTokenStore,
    clock: ManualClock,
    name: str,
) -> None:
    """A renewal that fails after a 401, and the login after it that fails too, show no canary."""
    fault, _ = FAULTS[name]
    # One that has time to log in.
    patient = auth_of(sandbox, store=store, clock=clock)
    await patient.token()
    async with client_of(auth) as client:
        await client.get("/v1/x")
        sandbox.fail("refresh", fault)
        sandbox.fail("connect", fault)
        sandbox.revoke()
        with pytest.raises(AuthError) as caught:
            await client.get("/v1/x")

    assert sandbox.counters.refreshes >= 1
    await auth.events_delivered()
    assert exposed(caught.value, auth, auth.status(), *events) == []


async def test_nothing_is_seen_of_a_401_for_ever(
    sandbox: Sandbox, events: list[Event], exposed: Exposed
) -> None:
    """A resource that always answers 401 is handed back, and shows no canary."""
    sandbox.fail("resource", Fault.unauthorized())
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, on_event=events.append
    ) as client:
        answers = [await client.get("/v1/x") for _ in range(4)]
        with pytest.raises(httpx.HTTPStatusError) as caught:
            answers[-1].raise_for_status()

        await client.auth.events_delivered()
        shown = [client.auth, client.auth.status(), *map(repr, answers), *events]
        assert exposed(*shown) == []
    assert "401" in str(caught.value)


async def test_our_frames_show_nothing_of_a_failing_request(
    sandbox: Sandbox, exposed: Exposed
) -> None:
    """A resource request that breaks off carries no frame of this package."""
    sandbox.fail("resource", Fault.reset())
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/v1/x")

    frames = [str(entry.path) for entry in caught.traceback]
    assert not any("taxizer_async" in Path(frame).parts for frame in frames)
    assert exposed(str(caught.value), repr(caught.value)) == []


@pytest.mark.invariant(20)
async def test_a_renewal_ahead_of_need_that_fails_shows_nothing(
    sandbox: Sandbox, events: list[Event], exposed: Exposed
) -> None:
    """A renewal that fails while the old token lives is logged, without a canary."""
    clock, failed = ManualClock(), anyio.Event()

    def note(event: Event) -> None:
        events.append(event)
        if isinstance(event, ExchangeFailed):
            failed.set()

    auth = auth_of(sandbox, clock=clock, on_event=note)
    await auth.token()
    sandbox.fail("refresh", Fault.status(500, body=SAID))
    sandbox.fail("connect", Fault.status(500, body=SAID))
    clock.advance(800)
    token = await auth.token()
    with anyio.fail_after(HANG):
        await failed.wait()

    assert sandbox.counters.refreshes == 1
    assert exposed(token, auth, auth.status(), *events) == []
