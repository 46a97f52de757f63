"""What no other test here would notice the lack of; see `tests/mutants`."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx
import pytest

from taxizer_async import (
    Credentials,
    LoggedIn,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import Fault, ManualClock


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from taxizer_async import Event
    from taxizer_async.stores import Lease, StoreKey, TokenRecord
    from taxizer_async.testing import Sandbox


PATH = "/v1/Invoices/GenerateInvoice"
#: Past the point from which callers wait for the next token of 900 s.
PRESSING = 875.0


class DownStore:
    """A store that nobody gets a lease of, and so is not used."""

    async def load(self, _: StoreKey, /) -> TokenRecord | None:
        raise OSError

    async def save(self, _: StoreKey, _record: TokenRecord, _lease: Lease, /) -> bool:
        raise OSError

    async def clear(self, _: StoreKey, /) -> None:
        raise OSError

    async def lease(self, _: StoreKey, /) -> Lease | None:
        raise OSError


class LossyStore:
    """A store in memory that can lose a lease before the next save."""

    def __init__(self, sandbox: Sandbox, clock: ManualClock) -> None:
        self._inner = MemoryTokenStore(clock=clock)
        self._sandbox = sandbox
        self.loses_the_lease = False
        self.refreshes_at_each_lease: list[int] = []

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await self._inner.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        lost, self.loses_the_lease = self.loses_the_lease, False
        return not lost and await self._inner.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self._inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self.refreshes_at_each_lease.append(self._sandbox.counters.refreshes)
        return await self._inner.lease(key)


class Untouchable:
    """A lock that nobody may take."""

    def __enter__(self) -> None:
        pytest.fail("a lock was taken")

    def __exit__(self, *_: object) -> None: ...


class Unfinished(httpx.AsyncByteStream):
    """A body that is all there, and yet does not end."""

    def __init__(self) -> None:
        self.is_there = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"jwtToken": "j-1"}'
        self.is_there.set()
        await anyio.sleep_forever()


async def test_the_fast_path_takes_no_lock(
    auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh token is had without any of the locks that guard its changes."""
    token = await auth.token()
    for guarded in (auth._provider._ledger, auth._provider._airfield()):
        monkeypatch.setattr(guarded, "_mutex", Untouchable())
    flow = auth.async_auth_flow(httpx.Request("POST", auth.base_url + PATH))
    request = await flow.__anext__()
    await flow.aclose()

    assert request.headers["Authorization"] == f"Bearer {token.jwt.reveal()}"


async def test_who_comes_to_the_lease_late_takes_what_is_there(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """A token that another loop got, while the credentials were asked for, is enough without a store."""
    asked = 0

    async def from_vault() -> Credentials:
        nonlocal asked
        asked += 1
        if asked == 1:
            await anyio.to_thread.run_sync(log_in_elsewhere)
        return sandbox.credentials

    def log_in_elsewhere() -> None:
        anyio.run(auth.token, backend=anyio_backend[0])

    auth = TaxizerAuth(from_vault, base_url=sandbox.base_url, store=DownStore())
    token = await auth.token()

    assert sandbox.counters.connects == 1
    assert [token.jwt.reveal()] == list(sandbox.issued_jwts)


async def test_waiters_share_a_failure_that_is_not_remembered(sandbox: Sandbox) -> None:
    """Ten waiters for a login that fails make one try, though the next caller may try at once."""
    policy = RenewalPolicy(attempts=1, outage_backoff=1e-9, outage_backoff_limit=1e-9)
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


async def test_what_a_cancelled_leader_received_is_kept(sandbox: Sandbox) -> None:
    """A leader that is cancelled when its token has come, but not all else, leaves it to the others."""
    body = Unfinished()
    answers = iter([httpx.Response(200, stream=body)])
    store = MemoryTokenStore()

    def http_client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(answers)))

    auths = [
        TaxizerAuth(
            sandbox.credentials, base_url=sandbox.base_url, http_client=http_client, store=store
        )
        for _ in range(2)
    ]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auths[0].token)
        await body.is_there.wait()
        tasks.cancel_scope.cancel()

    for auth in auths:
        assert (await auth.token()).jwt.reveal() == "j-1"


def test_a_native_cancellation_ends_its_caller(sandbox: Sandbox) -> None:
    """A Task.cancel of asyncio in mid-login comes out as what it is."""

    async def main() -> None:
        policy = RenewalPolicy(attempts=1)
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
        with sandbox.hold("connect") as gate:
            task = asyncio.create_task(auth.token())
            await gate.wait_until_async(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


async def test_a_single_try_ends_with_the_exchange(sandbox: Sandbox) -> None:
    """A try that could take longer by itself is over when the whole exchange has to be."""
    policy = RenewalPolicy(attempt_timeout=10, exchange_timeout=0.1)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, policy=policy)
    sandbox.fail("connect", Fault.hang())
    with anyio.fail_after(2), pytest.raises(TokenEndpointUnavailableError, match="no answer"):
        await auth.token()


async def test_clients_are_made_in_a_worker_thread(sandbox: Sandbox) -> None:
    """The loop's own thread makes no client, as that reads files."""
    makers: list[int] = []

    def http_client() -> httpx.AsyncClient:
        makers.append(threading.get_ident())
        return httpx.AsyncClient()

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, http_client=http_client)
    await auth.token()

    assert len(makers) == 1
    assert threading.get_ident() not in makers


async def test_a_mark_that_comes_too_late_sends_nothing(sandbox: Sandbox) -> None:
    """Who loses the lease before the mark is written sends the refresh token under the next one."""
    clock = ManualClock(start=time.time(), autojump=True)
    store = LossyStore(sandbox, clock)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, store=store)
    await auth.token()
    clock.advance(1_000)
    store.loses_the_lease = True
    await auth.token()

    assert store.refreshes_at_each_lease == [0, 0, 0]
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_does_not_wait_for_its_parents_flight(auth: TaxizerAuth) -> None:
    """A child that is forked while its parent asks for a token asks for itself at once."""

    async def take() -> None:
        with anyio.fail_after(2):
            await auth.token()

    with auth._provider._airfield().try_runway():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                anyio.run(take)
                status = 0
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(ended) == 0


async def test_while_keep_fresh_runs_no_request_renews(sandbox: Sandbox) -> None:
    """Callers go on with a token that is about to end while keep_fresh is at it."""
    clock = ManualClock(start=time.time())
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    old = await auth.token()
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(auth.keep_fresh)
            await clock.wait_until_asleep()
            clock.advance(PRESSING)
            await gate.wait_until_async(1)
            with anyio.fail_after(2):
                assert await auth.token() == old
            assert gate.waiting == 1
        await sandbox.wait_until_async(lambda counters: counters.refreshes_ok == 1)
        tasks.cancel_scope.cancel()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_a_private_refresh_token_in_doubt_is_not_sent_again(sandbox: Sandbox) -> None:
    """Without a store, too, a refresh token that may have been taken is spent."""
    clock = ManualClock(start=time.time(), autojump=True)
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, clock=clock, store=DownStore()
    )
    old = await auth.token()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.drop_after_processing(), times=1)
    sandbox.fail("connect", Fault.status(500))
    assert await auth.token() == old
    sandbox.heal()
    clock.advance(2)
    await auth.token()

    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes) == (2, 1)
    assert sandbox.counters.reuses == 0


async def test_a_hook_that_hangs_holds_up_nobody_else(sandbox: Sandbox) -> None:
    """While the leader waits for a hook, those who waited for its login go on."""
    hooked, go = anyio.Event(), anyio.Event()

    async def hang(event: Event) -> None:
        if isinstance(event, LoggedIn):
            hooked.set()
            await go.wait()

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, on_event=hang)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            with anyio.fail_after(2):
                async with anyio.create_task_group() as followers:
                    followers.start_soon(auth.token)
                    await anyio.wait_all_tasks_blocked()
                    gate.release()
        await hooked.wait()
        go.set()

    assert sandbox.counters.connects == 1
