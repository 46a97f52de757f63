"""One login or renewal at a time for all that share an auth or a store."""

from __future__ import annotations

import contextlib
import threading

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from taxizer_async import (
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, FleetFactory, MakeAuth, auth_of, client_of, flow_of, gather
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.policies import ONE_TRY
from tests.support.scripted_store import ScriptedStore


class Untouchable:
    """A lock that must not be taken."""

    def __enter__(self) -> None:
        pytest.fail("a lock was taken")

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.invariant(1)
async def test_the_fast_path_awaits_nothing(auth: TaxizerAuth) -> None:
    """With a fresh token the flow reaches its yield without a single suspension."""
    await auth.token()
    flow = flow_of(auth)
    step = flow.__anext__()
    with pytest.raises(StopIteration):
        step.send(None)
    await flow.aclose()


@pytest.mark.invariant(1)
async def test_the_fast_path_takes_no_lock(
    auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request with a fresh token takes none of the locks that guard its changes."""
    token = await auth.token()
    for guarded in (auth._bearer.provider.cache, auth._bearer.provider._coordinator()):
        monkeypatch.setattr(guarded, "_mutex", Untouchable())
    flow = flow_of(auth)
    request = await flow.__anext__()
    await flow.aclose()

    assert request.headers["Authorization"] == f"Bearer {token.jwt.reveal()}"


@pytest.mark.invariant(3)
@pytest.mark.report(16, 13, 15, 28, 29)
@pytest.mark.slow
@pytest.mark.parametrize(("clients", "connections"), [(1, 10), (5, 4)])
async def test_a_thousand_cold_requests_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, clients: int, connections: int
) -> None:
    """A thousand requests that start cold, over one client or five, cause one Connect and succeed."""
    sandbox.connect_latency = 0.3
    async with fleet(auth, clients=clients, connections=connections) as senders:
        answers = await senders.send(1_000)

    assert answers == [200] * 1_000
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)


@pytest.mark.invariant(3)
@pytest.mark.report(24, 25)
def test_consecutive_runs_share_one_login(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, anyio_backend: tuple[str, Any]
) -> None:
    """An auth made outside any loop serves one loop after the other, contended each time."""

    async def send() -> None:
        async with fleet(auth) as clients:
            assert await clients.send(3) == [200] * 3

    for _ in range(3):
        anyio.run(send, backend=anyio_backend[0])
    sandbox.revoke()
    anyio.run(send, backend=anyio_backend[0])

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


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


@pytest.mark.invariant(3)
@pytest.mark.report(17)
def test_threads_share_one_renewal(
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


@pytest.mark.invariant(3)
def test_threads_share_one_login_without_a_store(
    sandbox: Sandbox, store: ScriptedStore, anyio_backend: tuple[str, Any]
) -> None:
    """Four loops with one auth, and a store that gives no lease, cause one Connect."""
    store.down = {"lease"}
    sandbox.connect_latency = 0.2
    auth = auth_of(sandbox, store=store)
    jwts: list[str] = []

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    in_threads(take, 4, anyio_backend[0])

    assert jwts == list(sandbox.issued_jwts) * 4
    assert sandbox.counters.connects == 1


@pytest.mark.report(26)
def test_threads_outlive_a_transient_failure(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """After a 503 that two threads meet, one after the other, both are served a second later."""
    clock = ManualClock()
    auth = auth_of(sandbox, clock=clock, policy=ONE_TRY)
    answers: list[int | str] = []

    async def send() -> None:
        async with client_of(auth) as client:
            try:
                answers.append((await client.post(PATH)).status_code)
            except TokenEndpointUnavailableError as problem:
                answers.append(f"unavailable {problem.status_code}")

    def send_in_two_threads() -> list[int | str]:
        answers.clear()
        for _ in range(2):
            in_threads(send, 1, anyio_backend[0])
        return list(answers)

    assert send_in_two_threads() == [200, 200]
    sandbox.revoke()
    sandbox.fail("refresh", Fault.status(503), times=1)
    sandbox.fail("connect", Fault.status(503), times=1)
    assert send_in_two_threads() == ["unavailable 503"] * 2
    clock.advance(1)
    assert send_in_two_threads() == [200, 200]

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (3, 1)


@pytest.mark.invariant(3)
@pytest.mark.report(14)
async def test_auth_objects_that_share_a_store_share_one_login(sandbox: Sandbox) -> None:
    """Fifty auth objects made per request, with one store between them, cause one Connect."""
    sandbox.connect_latency = 0.1
    store = MemoryTokenStore()

    async def handle_request() -> int:
        async with client_of(auth_of(sandbox, store=store)) as client:
            return (await client.post(PATH)).status_code

    assert await gather(*[handle_request] * 50) == [200] * 50
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(3)
@needs_fork
def test_processes_that_share_a_store_share_one_login(
    sandbox: Sandbox, tmp_path: Path, anyio_backend: tuple[str, Any]
) -> None:
    """Four processes with one store between them cause one Connect."""
    sandbox.connect_latency = 0.2

    async def take() -> None:
        store = FileTokenStore(tmp_path / "tokens")
        await auth_of(sandbox, store=store).token()

    children = [fork(take, anyio_backend[0]) for _ in range(4)]

    assert [exit_code(child) for child in children] == [0] * 4
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(3)
@needs_fork
def test_a_child_has_no_part_in_its_parents_refresh(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A child that is forked while a thread of its parent logs in finds no refresh, and logs in by itself."""

    async def log_in() -> None:
        assert auth._bearer.provider._coordinator()._current is None
        await auth.token()

    with sandbox.hold("connect") as gate:
        thread = threading.Thread(target=anyio.run, args=(auth.token,))
        thread.start()
        gate.wait_until(1)
        child = fork(log_in)
        gate.wait_until(2)
    thread.join()

    assert exit_code(child) == 0
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(3)
async def test_a_refresh_waits_for_the_one_before_it(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A second login after `forget` waits for the first one to end, even without a store's lease."""
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


@pytest.mark.invariant(4)
@pytest.mark.report(21)
async def test_waiters_share_a_failure(sandbox: Sandbox) -> None:
    """Ten waiters for a login that fails make one try, though the next caller may try at once."""
    policy = RenewalPolicy(backoff=60.0, outage_backoff=1e-9, outage_backoff_limit=1e-9)
    auth = auth_of(sandbox, policy=policy)
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


PATHS = [f"/v1/Part{number}" for number in range(5)]


@pytest.mark.invariant(3)
@pytest.mark.report(18)
async def test_staggered_refusals_spend_one_refresh_token(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """Twenty 401s for one token that come in five waves cost one refresh."""
    await auth.token()
    answers: list[int] = []

    async def send(path: str) -> None:
        answers.append((await client.post(path, json={})).status_code)

    async with client_of(auth) as client:
        with contextlib.ExitStack() as gates:
            waves = [gates.enter_context(sandbox.hold(path)) for path in PATHS]
            async with anyio.create_task_group() as tasks:
                for path in PATHS:
                    for _ in range(4):
                        tasks.start_soon(send, path)
                for wave in waves:
                    await wave.wait_until_async(4)
                sandbox.revoke()
                for number, wave in enumerate(waves, 1):
                    wave.release()
                    await sandbox.wait_until_async(
                        lambda counters: counters.resources_ok >= 4 * number  # noqa: B023
                    )

    assert answers == [200] * 20
    assert sandbox.counters.unauthorized == 20
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0
