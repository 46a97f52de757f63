"""Callers that join a login or renewal under way are cancelled at each checkpoint: nobody notices."""

from __future__ import annotations

import itertools

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Sandbox
from tests.behaviour.cancellation import cases
from tests.behaviour.cancellation.cases import Case
from tests.behaviour.cancellation.ways import WAY_NAMES, WAYS, Call, Strike, Way
from tests.behaviour.cancellation.world import BusyStore, World
from tests.support.limits import HANG


#: With the number of checkpoints that there are at least, whatever the loop and the way.
CASES: dict[Case, int] = {
    cases.cold_call: 1,
    cases.cold_request: 7,
    cases.cold_with_files: 7,
    cases.renewal_of_need: 7,
    cases.renewal_of_a_dead_token: 7,
    cases.renewal_after_a_401: 7,
}
each_way = pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)


async def strike_a_follower(
    world: World, call: Call, way: Way, k: int, let_go: Callable[[], None]
) -> Strike:
    """Cancel a call that joins a refresh; the refresh is let go once the call waits or is over."""
    tokens, waiting = world.tokens, world.waiting
    strikes: list[Strike] = []

    async def follow() -> None:
        strikes.append(await way(call, k))

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            while not strikes and world.waiting == waiting:  # noqa: ASYNC110 - of two conditions, none an event
                await anyio.sleep(0.001)
            let_go()
    (strike,) = strikes
    assert strike.cancelled or world.tokens == tokens + 1
    return strike


@pytest.mark.report(33)
@pytest.mark.parametrize(("case", "least"), CASES.items(), ids=[case.__name__ for case in CASES])
@each_way
async def test_a_follower_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, way: Way, case: Case, least: int
) -> None:
    """A cancelled follower costs no exchange, and the other callers are served."""
    for k in itertools.count(1):
        world, call = await case(sandbox, tmp_path / str(k))
        async with world:
            await world.wait_until_idle()
            world.start_counting()
            tokens = world.tokens
            where = "refresh" if tokens else "connect"
            async with anyio.create_task_group() as tasks:
                with sandbox.hold(where) as gate:
                    tasks.start_soon(world.send)
                    await gate.wait_until_async(1)
                    strike = await strike_a_follower(world, call, way, k, gate.release)
            await world.check_that_all_is_well()
            assert len(world.asked) == 1
            assert world.tokens == tokens + 1
        if not strike.struck:
            break
    assert k - 1 >= least


@each_way
async def test_a_follower_of_a_wait_for_the_lease_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, way: Way
) -> None:
    """A cancelled follower of a refresh that waits for the lease changes nothing: it logs in later."""
    for k in itertools.count(1):
        store = BusyStore(FileTokenStore(tmp_path / str(k)), leases=float("inf"))
        async with World(sandbox, store) as world:

            def let_go(store: BusyStore = store) -> None:
                store.leases = 0

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(world.send)
                await store.is_asked.wait()
                strike = await strike_a_follower(world, world.send, way, k, let_go)
            await world.check_that_all_is_well()
            assert len(world.asked) == 1
            assert world.tokens == 1
        if not strike.struck:
            break
    assert k - 1 >= 7
