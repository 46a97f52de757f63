"""Invariants 1 to 5: single flight."""

from __future__ import annotations

import asyncio
import gc
import threading

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG
from tests.support.refreshes import cut_off, settle

from .conftest import PATH, flow_of


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing import Sandbox
    from taxizer_async.testing._sandbox.gate import Gate
    from tests.behaviour.auth.conftest import FleetFactory
    from tests.support.scripted_store import ScriptedStore


class Untouchable:
    """A lock that nobody may take."""

    def __enter__(self) -> None:
        pytest.fail("a lock was taken")

    def __exit__(self, *_: object) -> None: ...


async def assert_a_renewal_works(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(2):
            with anyio.fail_after(HANG):
                assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()


async def test_invariant_01_the_fast_path_awaits_nothing(auth: TaxizerAuth) -> None:
    """With a fresh token the flow reaches its yield without a single suspension."""
    await auth.token()
    flow = flow_of(auth)
    step = flow.__anext__()
    with pytest.raises(StopIteration):
        step.send(None)
    await flow.aclose()


async def test_invariant_01_the_fast_path_takes_no_lock(
    auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh token is had without any of the locks that guard its changes."""
    token = await auth.token()
    for guarded in (auth._bearer.provider.cache, auth._bearer.provider._coordinator()):
        monkeypatch.setattr(guarded, "_mutex", Untouchable())
    flow = flow_of(auth)
    request = await flow.__anext__()
    await flow.aclose()

    assert request.headers["Authorization"] == f"Bearer {token.jwt.reveal()}"


@pytest.mark.report(1)
async def test_invariant_02_a_flow_closed_by_another_task_leaves_no_trace(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A generator that another task closes at its yield blocks nobody."""
    flow = flow_of(auth)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.__anext__)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow.aclose)

    await assert_a_renewal_works(sandbox, auth)


# This is what trio thinks of a generator that is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_invariant_02_a_flow_left_to_the_collector_leaves_no_trace(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A generator that is dropped at its second yield, after a renewal, blocks nobody."""
    flow = flow_of(auth)
    sent = await flow.__anext__()
    await flow.asend(httpx.Response(401, request=sent))
    del flow
    gc.collect()
    # The hooks of the event loop close it in a task of their own.
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

    await assert_a_renewal_works(sandbox, auth)


async def test_invariant_02_flows_at_their_yields_hold_up_nobody(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """While two flows wait for their answers, one of them for its second, others renew."""
    flows = [flow_of(auth), flow_of(auth)]
    sent = [await flow.__anext__() for flow in flows]
    await flows[0].asend(httpx.Response(401, request=sent[0]))

    await assert_a_renewal_works(sandbox, auth)
    for flow in flows:
        await flow.aclose()


async def test_invariant_03_coroutines_share_one_exchange(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """Forty requests that start cold, and forty that meet a revocation, cost one exchange each."""
    async with fleet(auth) as clients:
        for exchanges in (1, 2):
            assert await clients.send(40) == [200] * 40
            assert sandbox.counters.exchanges == exchanges
            sandbox.revoke()

    assert sandbox.counters.max_concurrent_exchanges == 1


def in_threads(main: Callable[[], Any], count: int, backend: str) -> None:
    """Run *main* in *count* threads, each with an event loop of its own."""
    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend})
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.report(17)
def test_invariant_03_threads_share_one_renewal(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, anyio_backend: tuple[str, Any]
) -> None:
    """When the token is revoked under four loops at once, it is renewed once."""
    anyio.run(auth.token, backend=anyio_backend[0])
    sandbox.revoke()
    sandbox.refresh_latency = 0.2
    answers: list[int | Exception] = []

    async def send() -> None:
        async with fleet(auth, connections=10) as clients:
            answers.extend(await clients.send(10))

    in_threads(send, 4, anyio_backend[0])

    assert answers == [200] * 40
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


def test_invariant_03_threads_share_one_login_without_a_store(
    sandbox: Sandbox, store: ScriptedStore, anyio_backend: tuple[str, Any]
) -> None:
    """Four loops with one auth, and a store that gives no lease, cause one Connect."""
    store.down = {"lease"}
    sandbox.connect_latency = 0.2
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
    jwts: list[str] = []

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    in_threads(take, 4, anyio_backend[0])

    assert jwts == list(sandbox.issued_jwts) * 4
    assert sandbox.counters.connects == 1


@pytest.mark.report(14)
async def test_invariant_03_auth_objects_that_share_a_store_share_one_login(
    sandbox: Sandbox,
) -> None:
    """Fifty auth objects made per request, with one store between them, cause one Connect."""
    sandbox.connect_latency = 0.1
    store = MemoryTokenStore()
    answers: list[int | Exception] = []

    async def handle_request() -> None:
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            answers.append((await client.post("/v1/Devices/Register")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(handle_request)

    assert answers == [200] * 50
    assert sandbox.counters.connects == 1


@needs_fork
def test_invariant_03_processes_that_share_a_store_share_one_login(
    sandbox: Sandbox, tmp_path: Path, anyio_backend: tuple[str, Any]
) -> None:
    """Four processes with one store between them cause one Connect."""
    sandbox.connect_latency = 0.2

    async def take() -> None:
        store = FileTokenStore(tmp_path / "tokens")
        await TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store).token()

    children = [fork(take, anyio_backend[0]) for _ in range(4)]

    assert [exit_code(child) for child in children] == [0] * 4
    assert sandbox.counters.connects == 1


@needs_fork
def test_invariant_03_a_child_has_no_part_in_its_parents_refresh(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A child that is forked while its parent logs in finds no refresh under way."""

    async def look() -> None:
        assert auth._bearer.provider._coordinator()._current is None

    with sandbox.hold("connect") as gate:
        thread = threading.Thread(target=anyio.run, args=(auth.token,))
        thread.start()
        gate.wait_until(1)
        child = fork(look)
    thread.join()

    assert exit_code(child) == 0


async def test_invariant_03_a_refresh_waits_for_the_one_before_it(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """After `forget` a second one may start; without a store, too, it asks once the first has ended."""
    store.down = {"lease"}
    auth = make_auth()
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            await auth.forget()
            tasks.start_soon(auth.token)
            await anyio.wait_all_tasks_blocked()
            assert gate.waiting == 1

    assert sandbox.counters.connects == 2
    assert sandbox.counters.max_concurrent_exchanges == 1
    assert auth.status().logins == 1


def test_invariant_22_a_credentials_callable_that_hangs_holds_nobody_for_ever(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """Callers get an error to retry on when the time is up, also while it can't be cancelled."""
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


async def test_invariant_04_waiters_share_the_token(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """Ten callers of a login that is under way get what it brings."""
    jwts: list[str] = []

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            with sandbox.hold("connect") as gate:
                for _ in range(10):
                    tasks.start_soon(take)
                await gate.wait_until_async(1)
                await anyio.wait_all_tasks_blocked()

    assert sandbox.counters.connects == 1
    assert jwts == list(sandbox.issued_jwts) * 10


async def test_invariant_04_waiters_share_a_failure(sandbox: Sandbox) -> None:
    """Ten waiters for a login that fails make one try, though the next caller may try at once."""
    policy = RenewalPolicy(backoff=60.0, outage_backoff=1e-9, outage_backoff_limit=1e-9)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
    sandbox.fail("connect", Fault.status(503), times=1)
    errors: list[Exception] = []

    async def take() -> None:
        with pytest.raises(TokenEndpointUnavailableError) as caught:
            await auth.token()
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(take)
            await gate.wait_until_async(1)
            for _ in range(9):
                tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()

    assert sandbox.counters.connects == 1
    assert len({id(error) for error in errors}) == 10


@pytest.mark.report(32)
@pytest.mark.report(105)
async def test_invariant_05_the_first_caller_may_leave(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory
) -> None:
    """When the caller that found a login needed is cancelled, nine others are served by that login."""
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

    assert answers == [200] * 9
    assert sandbox.counters.connects == 1


@pytest.mark.report(101)
async def test_invariant_05_all_callers_may_leave(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A login that every caller has given up finishes all the same, and serves the next one."""
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


@pytest.mark.report(101)
@pytest.mark.report(102)
@pytest.mark.parametrize("way", ["cold", "revoked"])
async def test_invariant_05_deadlines_shorter_than_a_login_cost_one_exchange(
    sandbox: Sandbox, auth: TaxizerAuth, way: str
) -> None:
    """Callers that wait 0.2 s for a login of 0.5 s give up until it is done, and then all succeed."""
    statuses: list[int] = []

    async def send() -> None:
        with anyio.move_on_after(0.2):
            statuses.append((await client.post(PATH)).status_code)

    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
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


@pytest.mark.report(33)
async def test_invariant_05_an_impatient_follower_hurts_nobody_else(
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


def test_invariant_05_a_native_cancellation_ends_its_caller(sandbox: Sandbox) -> None:
    """A Task.cancel of asyncio in mid-login comes out as what it is."""

    async def main() -> None:
        policy = RenewalPolicy(backoff=60.0)
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
        with sandbox.hold("connect") as gate:
            task = asyncio.create_task(auth.token())
            await gate.wait_until_async(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


async def test_invariant_05_a_refresh_that_is_cut_off_gives_the_lease_back(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """The next one has the lease at once, and not only when it has expired."""
    store.before_release = anyio.lowlevel.checkpoint
    auth = make_auth()
    with sandbox.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_off_once, gate, auth)
            with pytest.raises(AuthError, match="the event loop ended"):
                await auth.token()
    await make_auth().token()

    assert len(store.leases) == 2
    assert len(store.saved) == 1


async def test_invariant_05_a_save_outlives_the_caller(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
) -> None:
    """A caller that leaves while the token is being saved changes nothing about that."""
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


async def test_invariant_05_a_save_that_hangs_ends_with_its_own_deadline(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], store: ScriptedStore
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


async def cut_off_once(gate: Gate, auth: TaxizerAuth) -> None:
    await gate.wait_until_async(1)
    cut_off(auth)
