"""Sync calls where an event loop runs in the same thread, as in a notebook."""

from __future__ import annotations

import asyncio
import time

from collections.abc import Callable

import anyio
import anyio.to_thread
import httpx
import pytest

from taxizer_async import Event, LoggedIn, MemoryTokenStore, Secret, TaxizerAuth
from taxizer_async._core.policy import BLOCKED_AFTER
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import auth_of
from tests.support.loops import ASYNCIO, until
from tests.support.policies import DUE
from tests.support.scripted_store import ScriptedStore


@pytest.mark.invariant(6)
async def test_a_refresh_of_the_callers_own_loop_is_left_behind_at_once(
    sandbox: Sandbox, events: list[Event]
) -> None:
    """A sync caller takes over from the refresh that its thread would have to run, which then saves nothing."""
    store = MemoryTokenStore()
    auth = auth_of(sandbox, store=store, on_event=events.append)
    jwts: list[Secret] = []

    async def ask() -> None:
        jwts.append((await auth.token()).jwt)

    sandbox.fail("connect", Fault.hang(), times=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await sandbox.wait_until_async(lambda counters: counters.connects == 1)
        began = time.monotonic()
        jwts.append(auth.sync_token().jwt)
        assert time.monotonic() - began < BLOCKED_AFTER
    sandbox.heal()
    await sandbox.wait_until_async(lambda counters: counters.connects_ok == 2)
    await until(lambda: sum(isinstance(event, LoggedIn) for event in events) == 2)
    jwts += [(await auth.token()).jwt, (await auth_of(sandbox, store=store).token()).jwt]

    assert {jwt.reveal() for jwt in jwts} == {sandbox.issued_jwts[0]}
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(6)
async def test_a_refresh_that_has_not_begun_is_left_behind(sandbox: Sandbox) -> None:
    """A sync caller takes over from a refresh of its loop that was only just started."""
    auth = auth_of(sandbox)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.token)
        tasks.start_soon(_call, auth.sync_token)

    assert sandbox.counters.connects == 1


async def _call(call: Callable[[], object]) -> None:
    call()


@pytest.mark.invariant(6)
async def test_a_lease_that_was_given_back_is_not_given_back_again(sandbox: Sandbox) -> None:
    """A sync caller that takes over from a refresh between two attempts takes a lease of its own."""
    clock = ManualClock()
    store, released = ScriptedStore(clock), 0

    async def count() -> None:
        nonlocal released
        released += 1

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    store.before_release = count
    clients = iter([httpx.AsyncClient(transport=httpx.MockTransport(refuse)), httpx.AsyncClient()])
    auth = auth_of(sandbox, store=store, clock=clock, http_client=lambda: next(clients))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.token)
        await clock.wait_until_asleep()
        auth.sync_token()
        clock.advance(60)

    assert sandbox.counters.connects == 1
    assert released == len(store.leases) == 2


async def test_a_refresh_of_another_loop_is_waited_for(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A thread without a loop waits for the refresh that an async caller has started."""
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            tasks.start_soon(anyio.to_thread.run_sync, auth.sync_token)
            await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.shield = True

    assert sandbox.counters.connects == 1


@pytest.mark.invariant(7)
async def test_ahead_of_need_the_loops_own_refresh_goes_on(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """With a living token a sync caller leaves no refresh behind, whichever loop runs it."""
    auth = auth_of(sandbox, clock=clock)
    old = await auth.token()
    clock.advance(DUE)
    with sandbox.hold("refresh") as gate:
        await auth.token()
        await gate.wait_until_async(1)
        assert auth.sync_token() == old
    await until(lambda: auth.status().renewals)

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.parametrize("anyio_backend", [ASYNCIO], indirect=True)
async def test_a_sync_call_in_a_callback_of_the_loop_works(sandbox: Sandbox) -> None:
    """It runs in no task, but in the loop's thread all the same."""
    auth = auth_of(sandbox)
    done = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            done.set_result(auth.sync_token())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(call)
    assert (await done).jwt.reveal() == sandbox.issued_jwts[0]
