"""A login belongs to no caller: callers leave or time out, and it goes on within its own limits."""

from __future__ import annotations

import threading

from functools import partial
from typing import Any

import anyio.to_thread
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.stores import TokenRecord
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, MakeAuth, auth_of, client_of, failure_of, gather
from tests.support.limits import HANG
from tests.support.refreshes import cut_off, settle
from tests.support.scripted_store import ScriptedStore


@pytest.mark.invariant(5)
@pytest.mark.report(101)
async def test_all_callers_may_leave(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A login that every caller has left finishes and serves the next caller."""
    with sandbox.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert gate.waiting == 1
    with anyio.fail_after(HANG):
        await auth.token()

    assert sandbox.counters.connects == 1


@pytest.mark.invariant(5)
@pytest.mark.report(101, 102)
@pytest.mark.parametrize("way", ["cold", "revoked"])
async def test_deadlines_shorter_than_a_login_cost_one_exchange(
    sandbox: Sandbox, auth: TaxizerAuth, way: str
) -> None:
    """Callers that wait 0.2 s for a login of 0.5 s give up until it is done; then all succeed."""
    statuses: list[int] = []

    async def send() -> None:
        with anyio.move_on_after(0.2):
            statuses.append((await client.post(PATH)).status_code)

    async with client_of(auth) as client:
        if way == "revoked":
            await client.post(PATH)
            sandbox.revoke()
            sandbox.reset_counters()
        sandbox.connect_latency = sandbox.refresh_latency = 0.5
        with anyio.fail_after(HANG):
            while not statuses:
                await send()
        statuses.clear()
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.post, PATH)

    assert sandbox.counters.exchanges == 1


@pytest.mark.report(38)
async def test_a_slow_login_is_not_cut_short_by_a_requests_timeout(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A request waits for a login that takes longer than the request's own timeout."""
    sandbox.connect_latency = 1.5
    async with client_of(auth) as client:
        answer = await client.post(PATH, timeout=1.0)

    assert answer.status_code == 200
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(22)
@pytest.mark.report(36)
@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_a_hung_token_endpoint_holds_nobody(sandbox: Sandbox, where: str) -> None:
    """Twenty callers of an endpoint that never answers get a typed error within its limit."""
    store = MemoryTokenStore()
    policy = RenewalPolicy(attempt_timeout=0.2, exchange_timeout=0.5)
    auth = auth_of(sandbox, store=store, policy=policy)
    if where == "refresh":
        # One that has time to log in.
        await auth_of(sandbox, store=store).token()
        await auth.token()
        sandbox.revoke()
        sandbox.fail("refresh", Fault.hang())
    sandbox.fail("connect", Fault.hang())
    async with client_of(auth, timeout=60) as client:
        send = partial(failure_of, TokenEndpointUnavailableError, partial(client.post, PATH))
        with anyio.fail_after(HANG):
            errors = await gather(*[send] * 20)

    assert len({id(error) for error in errors}) == 20


@pytest.mark.invariant(22)
def test_a_credentials_callable_that_hangs_holds_nobody_for_ever(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """Callers get a retryable error when the time is up, though the callable can't be cancelled."""
    free = threading.Event()

    async def hang() -> Credentials:
        await anyio.to_thread.run_sync(free.wait, HANG)
        return sandbox.credentials

    async def main() -> None:
        try:
            for _ in range(2):
                with pytest.raises(AuthError) as caught:
                    await auth.token()
                assert caught.value.retryable
        finally:
            free.set()

    policy = RenewalPolicy(exchange_timeout=0.2, store_timeout=0.2, outage_backoff=1e-9)
    auth = TaxizerAuth(hang, base_url=sandbox.base_url, policy=policy)
    anyio.run(main, backend=anyio_backend[0])


@pytest.mark.invariant(5)
async def test_a_save_outlives_the_caller(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """The token is saved even if its caller leaves meanwhile."""
    auth = make_auth()
    with anyio.CancelScope() as scope:

        async def cancel(_: TokenRecord) -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        store.before_save = cancel
        await auth.token()
        await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    await settle(auth._bearer.provider)
    assert auth.status().usable
    assert (await make_auth().token()).jwt.reveal() == sandbox.issued_jwts[0]
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(5)
async def test_a_save_that_hangs_ends_with_its_own_deadline(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A refresh waits for the store no longer than `store_timeout`, and keeps the token."""
    auth = make_auth(policy=RenewalPolicy(store_timeout=0.05))
    overran: list[bool] = []

    async def hang(_: TokenRecord) -> None:
        await anyio.sleep(HANG)
        overran.append(True)

    store.before_save = hang
    await auth.token()

    assert not overran
    assert auth.status().usable
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(5)
async def test_a_refresh_that_is_cut_off_gives_the_lease_back(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """The next refresh gets the lease at once, not when it expires."""
    store.before_release = anyio.lowlevel.checkpoint
    auth = make_auth()
    with sandbox.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(failure_of, AuthError, auth.token)
            await gate.wait_until_async(1)
            cut_off(auth)
    await make_auth().token()

    assert len(store.leases) == 2
    assert len(store.saved) == 1
