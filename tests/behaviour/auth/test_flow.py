"""Calls in unusual company: outer flows, hooks, forks, cancellations, and a `forget` in between."""

from __future__ import annotations

import threading

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import LoggedIn, RenewalPolicy, Renewed, TaxizerAuth
from taxizer_async.testing import Fault
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taxizer_async import Event
    from taxizer_async.testing import Sandbox
    from tests.support.scripted_store import ScriptedStore


PATH = "/v1/Invoices/GenerateInvoice"


@pytest.mark.report(3)
async def test_an_outer_flow_may_drive_it_and_never_close_it(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """As the inner flow of another auth that only sends into it, it blocks nobody after an error."""
    inner_flows: list[AsyncGenerator[httpx.Request, httpx.Response]] = []

    class Outer(httpx.Auth):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            inner = auth.async_auth_flow(request)
            inner_flows.append(inner)
            outgoing = await inner.asend(None)  # type: ignore[arg-type]
            while True:
                response = yield outgoing
                try:
                    outgoing = await inner.asend(response)
                except StopAsyncIteration:
                    return

    async with httpx.AsyncClient(auth=Outer(), base_url=sandbox.base_url) as client:
        sandbox.fail(PATH, Fault.reset(), times=1)
        with pytest.raises(httpx.TransportError):
            await client.post(PATH)
        sandbox.revoke()
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200
    for flow in inner_flows:
        await flow.aclose()


async def test_a_renewal_goes_on_without_its_caller(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A request that is cancelled in mid-renewal leaves the renewal to the next one."""
    await auth.token()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with sandbox.hold("refresh") as gate:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.post, PATH)
                await gate.wait_until_async(1)
                tasks.cancel_scope.cancel()
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0


async def test_a_hook_may_use_the_client(sandbox: Sandbox) -> None:
    """An async hook that makes authenticated calls ends."""
    answers: list[tuple[type[Event], int]] = []
    logged_in, renewed = anyio.Event(), anyio.Event()

    async def call_back(event: Event) -> None:
        if isinstance(event, (LoggedIn, Renewed)):
            answers.append((type(event), (await client.post(PATH)).status_code))
            (logged_in if isinstance(event, LoggedIn) else renewed).set()

    policy = RenewalPolicy(hook_timeout=3 * HANG)
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, policy=policy, on_event=call_back
    )
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200
            await logged_in.wait()
            sandbox.fail(PATH, Fault.unauthorized(), times=1)
            assert (await client.post(PATH)).status_code == 200
            await renewed.wait()

    assert answers == [(LoggedIn, 200), (Renewed, 200)]


@pytest.mark.report(8)
@pytest.mark.report(9)
async def test_a_login_through_the_authenticated_client_does_not_recurse(sandbox: Sandbox) -> None:
    """If http_client returns a client that has the auth itself, one login is made."""

    def client_with_auth() -> httpx.AsyncClient:
        return httpx.AsyncClient(auth=auth)

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, http_client=client_with_auth)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH)).status_code == 200
        sandbox.revoke()
        sandbox.fail("refresh", Fault.status(401), times=1)
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert not any(entry.had_authorization_header for entry in sandbox.exchange_log)


@pytest.mark.report(39)
async def test_a_refusal_of_everything_ends(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """With both token endpoints answering 401 for ever, a request costs four calls at most."""
    await auth.token()
    sandbox.revoke()
    sandbox.fail("refresh", Fault.status(401))
    sandbox.fail("connect", Fault.status(401))
    sandbox.reset_counters()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(5):
            with pytest.raises(Exception, match="rejected the credentials"):
                await client.post(PATH)

    assert sandbox.counters.exchanges <= 2


@needs_fork
def test_a_child_forked_in_mid_login_is_not_stuck(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A fork while another thread's login holds every lock leaves the child able to log in."""
    with sandbox.hold("connect") as gate:
        thread = threading.Thread(target=anyio.run, args=(auth.token,))
        thread.start()
        gate.wait_until(1)
        child = fork(auth.token)
        gate.wait_until(2)
    thread.join()

    assert exit_code(child) == 0
    assert sandbox.counters.connects == 2


async def test_forget_drops_the_token(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """After forget() the next request logs in; the refresh token is not used."""
    old = await auth.token()
    await auth.forget()
    assert not auth.status().usable
    new = await auth.token()

    assert new.jwt != old.jwt
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)


async def test_forget_during_a_login_drops_what_comes_of_it(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A token that was asked for before forget() is neither saved nor used, by whoever waits for it."""
    auth = make_auth()
    jwts: list[str] = []

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(take)
            await gate.wait_until_async(1)
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(HANG):
                await auth.forget()
            assert gate.waiting == 1

    _, second = sandbox.issued_jwts
    assert jwts == [second] * 2
    assert [record.token.jwt.reveal() for record in store.saved] == [second]
    assert auth.status().logins == 1
    assert sandbox.counters.connects == 2


@pytest.mark.report(30)
async def test_the_loop_is_never_blocked(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """While a first login waits for its answer, other tasks of the loop run on."""
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            for _ in range(10):
                await anyio.sleep(0.01)
            # A login that blocked would be over, as its time was up, before this task ran on.
            assert gate.waiting == 1

    assert sandbox.counters.connects == 1
