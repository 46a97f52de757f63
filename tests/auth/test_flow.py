"""The auth flow driven by hand: it may be closed elsewhere, dropped or cancelled, and owns nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from taxizer_async import LoggedIn, Renewed, TaxizerAuth
from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taxizer_async import Event
    from taxizer_async.testing import Sandbox
    from tests.auth.conftest import FleetFactory


PATH = "/v1/Invoices/GenerateInvoice"


def flow_of(auth: TaxizerAuth, sandbox: Sandbox) -> AsyncGenerator[httpx.Request, httpx.Response]:
    return auth.async_auth_flow(httpx.Request("POST", sandbox.base_url + PATH))


def fork(call: Callable[[], Any]) -> int:
    """Run *call* in a child, and return that one's process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            anyio.run(call)
            status = 0
        finally:
            os._exit(status)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.report(1)
async def test_a_flow_closed_by_another_task_leaves_no_trace(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A generator that another task closes at its yield blocks nobody."""
    flow = flow_of(auth, sandbox)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.__anext__)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.aclose)
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth) as client:
        with anyio.fail_after(1):
            assert (await client.post(sandbox.base_url + PATH)).status_code == 200


async def test_a_dropped_flow_leaves_no_trace(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A generator that is dropped at its yield and collected blocks nobody."""
    flow = flow_of(auth, sandbox)
    await flow.__anext__()
    await flow.aclose()
    del flow
    gc.collect()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth) as client:
        with anyio.fail_after(1):
            assert (await client.post(sandbox.base_url + PATH)).status_code == 200


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
        with anyio.fail_after(5):
            assert (await client.post(PATH)).status_code == 200
    for flow in inner_flows:
        await flow.aclose()


@pytest.mark.report(20)
async def test_the_second_try_carries_another_header(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """After a 401 the header is built anew, from the new token."""
    flow = flow_of(auth, sandbox)
    first = (await flow.__anext__()).headers["Authorization"]
    refused = httpx.Response(401, request=httpx.Request("POST", sandbox.base_url + PATH))
    refused.request.headers["Authorization"] = first
    second = (await flow.asend(refused)).headers["Authorization"]
    with pytest.raises(StopAsyncIteration):
        await flow.asend(httpx.Response(200))

    assert first != second
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(96)
async def test_a_401_is_read_before_anything_is_waited_for(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """The body of a 401 is consumed before the renewal starts, so that its connection is free."""
    flow = flow_of(auth, sandbox)
    sent = await flow.__anext__()
    read_at: list[int] = []

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            read_at.append(sandbox.counters.refreshes)
            yield b"no"

    await flow.asend(httpx.Response(401, request=sent, stream=Body()))
    await flow.aclose()

    assert read_at == [0]
    assert sandbox.counters.refreshes == 1


async def test_the_fast_path_awaits_nothing(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """With a fresh token the flow reaches its yield without a single suspension."""
    await auth.token()
    flow = flow_of(auth, sandbox)
    step = flow.__anext__()
    with pytest.raises(StopIteration):
        step.send(None)
    await flow.aclose()


@pytest.mark.report(32)
async def test_a_cancelled_leader_hurts_nobody_else(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """When the caller that logs in is cancelled, nine others succeed with one login more at most."""
    answers: list[int | Exception] = []
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()
        with sandbox.hold("connect") as gate:

            async def lead() -> None:
                with leader:
                    await clients.send(1)

            async def follow() -> None:
                answers.extend(await clients.send(9))

            tasks.start_soon(lead)
            await gate.wait_until_async(1)
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            leader.cancel()
            await sandbox.wait_until_async(lambda counters: counters.connects == 2)

    assert answers == [200] * 9
    assert sandbox.counters.connects == 2
    assert sandbox.counters.max_concurrent_exchanges <= 2


@pytest.mark.report(33)
async def test_an_impatient_follower_hurts_nobody_else(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """A follower that gives up does not cancel the login that the others wait for."""
    answers: list[int | Exception] = []
    async with fleet(auth) as clients, anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:

            async def send() -> None:
                answers.extend(await clients.send(3))

            tasks.start_soon(send)
            await gate.wait_until_async(1)
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await auth.token()

    assert answers == [200] * 3
    assert sandbox.counters.connects == 1


async def test_cancelling_a_renewal_spends_the_refresh_token(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A refresh token that was on its way when its caller was cancelled is not sent again."""
    await auth.token()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with sandbox.hold("refresh") as gate:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.post, PATH)
                await gate.wait_until_async(1)
                tasks.cancel_scope.cancel()
        with anyio.fail_after(1):
            assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.report(6)
async def test_a_call_can_be_cancelled_at_every_step(sandbox: Sandbox) -> None:
    """Cancelled at its k-th checkpoint, for every k, a first call ends at once and the next succeeds."""
    for k in range(500):
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
        before = sandbox.counters.connects
        finished = await _cancel_at_checkpoint(auth.token, k)
        with anyio.fail_after(1):
            await auth.token()
        assert sandbox.counters.connects - before <= 2
        if finished:
            break

    assert finished
    assert k > 5


async def _cancel_at_checkpoint(call: Callable[[], Any], k: int) -> bool:
    """Run *call* in a task and cancel that after *k* turns of the loop; say whether it was over."""
    done = False

    async def run() -> None:
        nonlocal done
        await call()
        done = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(k):
            await anyio.lowlevel.checkpoint()
            if done:
                break
        tasks.cancel_scope.cancel()
    return done


@pytest.mark.report(6)
@pytest.mark.report(32)
def test_a_native_cancel_leaves_the_lock_free(auth: TaxizerAuth) -> None:
    """A Task.cancel of asyncio at each of the first twenty turns leaves nothing locked."""

    async def main() -> None:
        for turns in range(20):
            await auth.forget()
            task = asyncio.create_task(auth.token())
            follower = asyncio.create_task(auth.token())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(1):
                await asyncio.gather(task, return_exceptions=True)
                await follower
                await auth.token()

    asyncio.run(main())


async def test_a_hook_may_use_the_client(sandbox: Sandbox) -> None:
    """An async hook that makes an authenticated call, even one that meets a 401, ends."""
    seen: list[Event] = []

    async def call_back(event: Event) -> None:
        seen.append(event)
        if isinstance(event, (LoggedIn, Renewed)) and len(seen) < 10:
            assert (await client.post(PATH)).status_code in (200, 401)

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, on_event=call_back)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(5):
            assert (await client.post(PATH)).status_code == 200
            sandbox.fail(PATH, Fault.unauthorized(), times=2)
            assert (await client.post(PATH)).status_code in (200, 401)

    assert LoggedIn in map(type, seen)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_its_own_refresh_token(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A child uses the parent's JWT, logs in for itself to renew, and never spends the parent's."""

    async def use() -> None:
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            (await client.post(PATH)).raise_for_status()

    anyio.run(use)
    assert exit_code(fork(use)) == 0
    assert sandbox.counters.exchanges == 1

    sandbox.revoke()
    assert exit_code(fork(use)) == 0
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)
    anyio.run(use)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
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
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A token that was asked for before forget() is not used after it."""
    tokens = []

    async def take() -> None:
        tokens.append(await auth.token())

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(take)
            await gate.wait_until_async(1)
            await auth.forget()

    assert sandbox.counters.connects == 2
    assert tokens[0].jwt.reveal() == sandbox.issued_jwts[-1]


@pytest.mark.report(30)
async def test_the_loop_is_never_blocked(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """While a first login takes 500 ms, other tasks of the loop run on."""
    sandbox.connect_latency = 0.5
    longest = 0.0
    beaten = anyio.Event()

    async def beat() -> None:
        nonlocal longest
        last = anyio.current_time()
        while True:
            await anyio.sleep(0.01)
            longest = max(longest, anyio.current_time() - last)
            last = anyio.current_time()
            beaten.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        await beaten.wait()
        await auth.token()
        # The next one is the one that a blocked loop would have held up.
        beaten = anyio.Event()
        await beaten.wait()
        tasks.cancel_scope.cancel()

    # 10 ms of it are the beat's own sleep; a login that blocked would show as 500.
    assert longest < 0.25
