"""Who gets the token is cancelled at each checkpoint: it loses nothing, and hurts nobody else."""

from __future__ import annotations

import itertools

from typing import TYPE_CHECKING

import anyio
import pytest

from taxizer_async._exchange import REFRESH_PATH
from tests.cancellation.cases import (
    cold_call,
    cold_request,
    cold_with_a_remote_store,
    cold_with_a_vault,
    cold_with_files,
    renewal_after_a_401,
    renewal_ahead_of_need,
    renewal_of_a_dead_token,
    renewal_of_need,
    renewal_with_a_remote_store,
    renewal_with_files,
    waiting_for_anothers_token,
    waiting_for_the_lease,
)
from tests.cancellation.ways import WAYS, by_late_task_cancel, by_trio_scope
from tests.limits import HANG


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from taxizer_async.testing import Sandbox
    from tests.cancellation.cases import Case
    from tests.cancellation.conftest import NotePoints
    from tests.cancellation.ways import Call, Strike, Way
    from tests.cancellation.world import World

    StrikeOne = Callable[[World, Call, Way, int], Awaitable[Strike]]


#: With the number of checkpoints that there are at least, whatever the loop and the way.
CASES: dict[Case, int] = {
    cold_call: 10,
    cold_request: 16,
    cold_with_a_vault: 15,
    renewal_ahead_of_need: 12,
    renewal_of_need: 14,
    renewal_of_a_dead_token: 14,
    renewal_after_a_401: 17,
    cold_with_a_remote_store: 18,
    renewal_with_a_remote_store: 19,
    cold_with_files: 24,
    renewal_with_files: 25,
    waiting_for_the_lease: 40,
    waiting_for_anothers_token: 10,
}


#: Ways that a follower of the cancelled caller can hardly tell from the others.
RARE = (by_late_task_cancel, by_trio_scope)


async def strike_alone(world: World, call: Call, way: Way, k: int) -> Strike:
    tokens = world.tokens
    with anyio.fail_after(HANG):
        strike = await way(call, k)
    begun, is_kept = len(world.asked), world.tokens > tokens
    assert strike.cancelled or is_kept
    assert begun <= world.needs
    if is_kept:
        await world.check_that_it_is_saved()
    await world.check_that_all_is_well()
    assert len(world.asked) == begun + (0 if is_kept else world.needs)
    return strike


async def strike_followed(world: World, call: Call, way: Way, k: int) -> Strike:
    strikes: list[Strike] = []

    async def lead() -> None:
        strikes.append(await way(call, k))
        world.asking.set()

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead)
            await world.asking.wait()
            await world.send()
    await world.check_that_all_is_well()
    assert world.needs <= len(world.asked) <= 2 * world.needs
    (strike,) = strikes
    return strike


@pytest.mark.report(6)
@pytest.mark.report(32)
@pytest.mark.parametrize(
    ("strike_one", "anyio_backend", "way", "case", "least"),
    [
        pytest.param(
            *(strike_one, backend, way, case, least),
            id=f"{strike_one.__name__}-{backend}-{way.__name__}-{case.__name__}",
            # By far the most checkpoints, and the ways that differ least: `nox -s slow` has them, too.
            marks=[pytest.mark.slow]
            if case is waiting_for_the_lease or (strike_one is strike_followed and way in RARE)
            else [],
        )
        for strike_one in (strike_alone, strike_followed)
        for backend, way in WAYS
        for case, least in CASES.items()
    ],
)
async def test_a_leader_loses_nothing_and_hurts_nobody(
    sandbox: Sandbox,
    tmp_path: Path,
    anyio_backend: str,
    way: Way,
    case: Case,
    least: int,
    strike_one: StrikeOne,
    note_points: NotePoints,
) -> None:
    """What it got is kept; what it did not get is asked for once more, by a follower or the next one."""
    assert anyio_backend in ("asyncio", "trio")
    for k in itertools.count(1):
        world, call = await case(sandbox, tmp_path / str(k))
        async with world:
            world.start_counting()
            tokens = world.tokens
            strike = await strike_one(world, call, way, k)
            assert world.asked.count(REFRESH_PATH) <= 1
            assert world.tokens == tokens + 1
        if not strike.struck:
            break
    note_points(k - 1, least)
