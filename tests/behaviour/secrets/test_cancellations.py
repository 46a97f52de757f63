"""A cancelled or timed-out caller sees no secret."""

from __future__ import annotations

import asyncio
import threading

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from taxizer_async import Credentials, Event, TaxizerAuth
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import client_of
from tests.support.canaries import Exposed
from tests.support.limits import HANG


async def interrupted(call: Callable[[], Awaitable[object]], ready: Awaitable[object]) -> list[Any]:
    """Cancel *call* by its scope once *ready* is; return what it raised."""
    raised: list[Any] = []

    async def run() -> None:
        try:
            await call()
        except BaseException as error:
            raised.append(error)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await ready
        tasks.cancel_scope.cancel()
    assert len(raised) == 1
    return raised


@pytest.mark.invariant(20)
@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_nothing_is_seen_by_a_cancelled_leader(
    sandbox: Sandbox, auth: TaxizerAuth, exposed: Exposed, where: str
) -> None:
    """A caller that is cancelled in the login or renewal that it started sees no canary."""
    async with client_of(auth) as client:
        if where == "refresh":
            await client.get("/v1/x")
            sandbox.revoke()
        with sandbox.hold(where) as gate:
            raised = await interrupted(
                lambda: client.post("/v1/x", json={}), gate.wait_until_async(1)
            )

        assert exposed(*raised, auth, auth.status()) == []
        assert (await client.get("/v1/x")).status_code == 200


@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_nothing_is_seen_by_a_caller_that_times_out(
    sandbox: Sandbox, auth: TaxizerAuth, exposed: Exposed, where: str
) -> None:
    """The TimeoutError of a caller's own limit, and all that led to it, shows no canary."""
    if where == "refresh":
        await auth.token()
        cached = auth._bearer.provider.cache.fresh()
        assert cached is not None
        auth._bearer.provider.note_refusal(cached, "", sent_at=0.0)
    sandbox.fail(where, Fault.hang())
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(0.2):
            await auth.token()

    assert exposed(caught.value, auth, auth.status()) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("way", ["cancel", "wait_for", "timeout"])
async def test_nothing_is_seen_by_asyncios_own_ways(
    sandbox: Sandbox, auth: TaxizerAuth, exposed: Exposed, way: str
) -> None:
    """Task.cancel, wait_for and timeout leave no canary in what they raise."""

    async def limited() -> object:
        async with asyncio.timeout(0.5):
            return await auth.token()

    with sandbox.hold("connect") as gate:
        task: asyncio.Task[object]
        if way == "wait_for":
            task = asyncio.create_task(asyncio.wait_for(auth.token(), 0.5))
        else:
            task = asyncio.create_task(limited() if way == "timeout" else auth.token())
        if way == "cancel":
            await gate.wait_until_async(1)
            task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)) as caught:
            await task

    assert exposed(caught.value, task, auth, auth.status()) == []


async def test_nothing_is_seen_by_a_cancelled_waiter(
    sandbox: Sandbox, auth: TaxizerAuth, exposed: Exposed
) -> None:
    """A caller that is cancelled while it waits for another's login sees no canary."""
    with sandbox.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            raised = await interrupted(auth.token, anyio.wait_all_tasks_blocked())
            gate.release()

    assert exposed(*raised) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nothing_is_seen_of_a_login_that_ends_with_its_loop(
    sandbox: Sandbox, auth: TaxizerAuth, events: list[Event], exposed: Exposed, backend: str
) -> None:
    """A login that is cut off as its event loop ends leaves no canary in the log or the status."""

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            tasks.cancel_scope.cancel()

    with sandbox.hold("connect") as gate:
        anyio.run(leave, backend=backend)

    assert "the event loop ended" in (auth.status().last_error or "")
    assert exposed(auth, auth.status(), *events) == []


async def test_nothing_is_seen_of_a_vault_that_is_waited_for(
    sandbox: Sandbox, exposed: Exposed
) -> None:
    """A caller that is cancelled while an async callable runs sees no secret of its arguments."""
    asked = anyio.Event()

    async def vault(client_id: str, client_secret: str) -> Credentials:
        asked.set()
        await anyio.sleep_forever()
        return Credentials(client_id, client_secret)

    credentials = partial(vault, "sandbox-client", sandbox.credentials.client_secret.reveal())
    auth = TaxizerAuth(credentials, base_url=sandbox.base_url)
    raised = await interrupted(auth.token, asked.wait())

    assert exposed(*raised, repr(auth), auth.status()) == []


async def test_nothing_is_seen_of_a_vault_in_a_thread(sandbox: Sandbox, exposed: Exposed) -> None:
    """A caller that is cancelled while a sync callable runs sees no secret of its arguments."""
    asked, done = threading.Event(), threading.Event()

    def vault(client_id: str, client_secret: str) -> Credentials:
        asked.set()
        done.wait(HANG)
        return Credentials(client_id, client_secret)

    credentials = partial(vault, "sandbox-client", sandbox.credentials.client_secret.reveal())
    auth = TaxizerAuth(credentials, base_url=sandbox.base_url)
    raised = await interrupted(auth.token, anyio.to_thread.run_sync(asked.wait, HANG))
    done.set()

    assert exposed(*raised, repr(auth), auth.status()) == []
