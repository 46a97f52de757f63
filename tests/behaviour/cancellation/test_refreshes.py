"""
A refresh is cut off at each of its checkpoints, as when its event loop ends and it takes too long.

That is a failed try like others: what it got is kept, nothing that it spent is spent again, the lease is
free, and after the back-off the next caller gets a token.
"""

from __future__ import annotations

import itertools
import time

from pathlib import Path
from typing import Any, final

import anyio
import pytest

from taxizer_async import MemoryTokenStore, TokenEndpointUnavailableError, TokenState
from taxizer_async._http.token_endpoints import REFRESH_PATH
from taxizer_async.stores import Lease, StoreKey, TokenRecord
from taxizer_async.testing import ManualClock, Sandbox
from tests.behaviour.cancellation import cases
from tests.behaviour.cancellation.cases import Case
from tests.behaviour.cancellation.cutting import WAY_NAMES, WAYS, CutOff, Way, by_its_loop
from tests.behaviour.cancellation.ways import Call
from tests.behaviour.cancellation.world import World
from tests.support.callers import auth_of
from tests.support.limits import HANG


#: With the number of checkpoints that there are at least, whatever the loop and the way.
CASES: dict[Case, int] = {
    cases.cold_call: 12,
    cases.cold_request: 12,
    cases.cold_with_a_vault: 13,
    cases.renewal_ahead_of_need: 12,
    cases.renewal_of_need: 12,
    cases.renewal_of_a_dead_token: 12,
    cases.renewal_after_a_401: 12,
    cases.cold_with_a_remote_store: 16,
    cases.renewal_with_a_remote_store: 17,
    cases.cold_with_files: 22,
    cases.renewal_with_files: 21,
    cases.waiting_for_the_lease: 30,
    cases.waiting_for_anothers_token: 5,
}


#: Giving a lease back takes a checkpoint there.
REMOTE = (cases.cold_with_a_remote_store, cases.renewal_with_a_remote_store)


async def call_until_cut(world: World, call: Call, cut: CutOff) -> list[Exception]:
    """Have two callers wait for a refresh that is cut off; return what they got instead of a token."""
    errors: list[Exception] = []

    async def wait() -> None:
        try:
            await call()
        except TokenEndpointUnavailableError as error:
            errors.append(error)

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(wait)
    await cut.wait()
    assert not world.is_refreshing
    return errors


async def check_that_it_failed(world: World, errors: list[Exception]) -> None:
    """See that all were told, that nothing is tried before the back-off is over, and that it may be then."""
    status = world.auth.status()
    assert status.last_error is not None
    assert "the event loop ended" in status.last_error
    begun = len(world.asked)
    if status.usable:
        assert errors == []
        await world.auth.token()
        assert not world.is_refreshing
    else:
        assert len(errors) == 2
        assert all("the event loop ended" in str(error) for error in errors)
        if status.state is TokenState.REFUSED:
            # A caller that was not refused goes on with the token.
            await world.auth.token()
        else:
            with pytest.raises(TokenEndpointUnavailableError, match="the last attempt failed"):
                await world.auth.token()
    assert len(world.asked) == begun
    assert world.clock is not None
    world.clock.advance(1.0)


@pytest.mark.parametrize(
    ("anyio_backend", "way", "case", "least"),
    [
        pytest.param(
            *(backend, way, case, least),
            id=f"{backend}-{way.__name__}-{case.__name__}",
            # By far the most checkpoints: `nox -s slow` has them, too.
            marks=[pytest.mark.slow] if case is cases.waiting_for_the_lease else [],
        )
        for backend, way in WAYS
        for case, least in CASES.items()
        # A program that cancels all tasks ends a call to a remote store, too: then the lease runs out.
        if way is by_its_loop or case not in REMOTE
    ],
)
async def test_a_refresh_that_is_cut_off_is_a_failed_try(
    sandbox: Sandbox, tmp_path: Path, way: Way, case: Case, least: int
) -> None:
    """A refresh that is cut off keeps what it got; the rest is asked for once more, after the back-off."""
    for k in itertools.count(1):
        world, call = await case(sandbox, tmp_path / str(k))
        async with world:
            await world.wait_until_idle()
            world.start_counting()
            tokens = world.tokens
            cut = CutOff(world.coordinator, way, k)
            errors = await call_until_cut(world, call, cut)
            begun, is_kept = len(world.asked), world.tokens > tokens
            assert begun <= world.needs
            await world.check_that_the_lease_is_free()
            if is_kept:
                assert errors == []
            else:
                assert cut.struck
                await check_that_it_failed(world, errors)
            await world.check_that_all_is_well()
            assert len(world.asked) == begun + (0 if is_kept else world.needs)
            assert world.asked.count(REFRESH_PATH) <= 1
            assert world.tokens == tokens + 1
        if not cut.struck:
            break
    assert k - 1 >= least


@final
class SlowToSave:
    """A store that never ends a save."""

    def __init__(self) -> None:
        self.inner = MemoryTokenStore()
        self.is_saving = anyio.Event()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await self.inner.load(key)

    async def save(self, _: StoreKey, _record: TokenRecord, _lease: Lease, /) -> bool:
        self.is_saving.set()
        await anyio.sleep_forever()
        return True

    async def clear(self, key: StoreKey, /) -> None:
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        return await self.inner.lease(key)


@pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)
async def test_a_token_that_was_not_saved_yet_is_not_lost(sandbox: Sandbox, way: Way) -> None:
    """A refresh that is cut off while it saves leaves its token to its process and its callers."""
    store = SlowToSave()
    async with World(sandbox, store) as world:
        with anyio.fail_after(HANG):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(world.send)
                await store.is_saving.wait()
                refresh = world.coordinator._current
                assert refresh is not None
                way(refresh.task, None)
        assert (world.tokens, len(world.asked)) == (1, 1)
        await world.check_that_all_is_well()
        assert (world.tokens, len(world.asked)) == (1, 1)


@pytest.mark.slow
def test_a_loop_that_ends_cuts_off_what_takes_too_long(
    sandbox: Sandbox, anyio_backend: Any
) -> None:
    """A login that hangs ends two seconds after its loop; the next loop logs in after the back-off."""
    backend, options = anyio_backend
    clock = ManualClock(start=time.time(), autojump=True)
    auth = auth_of(sandbox, clock=clock)

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            tasks.cancel_scope.cancel()

    began = time.monotonic()
    with sandbox.hold("connect") as gate:
        anyio.run(leave, backend=backend, backend_options=options)
        elapsed = time.monotonic() - began
    with pytest.raises(TokenEndpointUnavailableError, match="the event loop ended"):
        anyio.run(auth.token, backend=backend, backend_options=options)
    clock.advance(1.0)
    anyio.run(auth.token, backend=backend, backend_options=options)

    assert 2.0 <= elapsed < HANG
    assert sandbox.counters.connects == 2
    assert auth.status().logins == 1


def test_a_loop_that_ends_waits_for_a_login(sandbox: Sandbox, anyio_backend: Any) -> None:
    """A loop that ends lets a login finish that nobody waits for, and its token is kept."""
    backend, options = anyio_backend
    auth = auth_of(sandbox)
    sandbox.connect_latency = 0.5

    async def leave() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert not auth.status().usable

    anyio.run(leave, backend=backend, backend_options=options)

    assert auth.status().usable
    assert sandbox.counters.connects == 1
