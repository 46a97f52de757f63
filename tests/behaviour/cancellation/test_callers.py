"""
Callers are cancelled at each checkpoint, one or all of them: the refresh that they started goes on.

It is a task of its own, so a caller has few checkpoints: where it waits for it, and those of its request.
"""

from __future__ import annotations

import itertools

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from taxizer_async.testing import Sandbox
from tests.behaviour.cancellation import cases
from tests.behaviour.cancellation.cases import Case
from tests.behaviour.cancellation.ways import WAYS, Call, Strike, Way
from tests.behaviour.cancellation.world import World
from tests.support.limits import HANG


StrikeSome = Callable[[World, Call, Way, int], Awaitable[Strike]]


#: With the number of checkpoints that a call has at least, whatever the loop and the way.
CASES: dict[Case, int] = {
    cases.cold_call: 1,
    cases.cold_request: 7,
    cases.cold_with_a_vault: 7,
    cases.renewal_ahead_of_need: 6,
    cases.renewal_of_need: 7,
    cases.renewal_of_a_dead_token: 7,
    cases.renewal_after_a_401: 8,
    cases.cold_with_a_remote_store: 7,
    cases.renewal_with_a_remote_store: 8,
    cases.cold_with_files: 7,
    cases.renewal_with_files: 8,
    cases.waiting_for_the_lease: 7,
    cases.waiting_for_anothers_token: 7,
}


async def strike_alone(world: World, call: Call, way: Way, k: int) -> Strike:
    """Cancel the only caller: the refresh that it started gets the token with nobody waiting for it."""
    tokens = world.tokens
    with anyio.fail_after(HANG):
        strike = await way(call, k)
    await check_that_what_was_started_goes_on(world, tokens)
    return strike


async def strike_all(world: World, call: Call, way: Way, k: int) -> Strike:
    """Cancel all of several callers at once, each at its checkpoint."""
    tokens = world.tokens
    strikes: list[Strike] = []

    async def be_struck() -> None:
        strikes.append(await way(call, k))

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(be_struck)
    assert len(strikes) == 3
    await check_that_what_was_started_goes_on(world, tokens)
    return strikes[0]


async def strike_the_first(world: World, call: Call, way: Way, k: int) -> Strike:
    """Cancel the caller that starts the refresh, while another waits for it."""
    strikes: list[Strike] = []

    async def be_struck() -> None:
        strikes.append(await way(call, k))

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(be_struck)
            await anyio.lowlevel.checkpoint()
            await world.send()
    await world.wait_until_idle()
    assert world.is_fresh
    (strike,) = strikes
    return strike


async def check_that_what_was_started_goes_on(world: World, tokens: int) -> None:
    """See that the refresh, if it was started, makes its exchange and saves with no further caller."""
    was_started = world.is_refreshing or world.tokens > tokens
    await world.wait_until_idle()
    assert world.tokens == tokens + was_started
    assert len(world.asked) == (world.needs if was_started else 0)
    if was_started:
        await world.check_that_it_is_saved()


@pytest.mark.report(6, 32)
@pytest.mark.parametrize(
    ("strike_some", "anyio_backend", "way", "case", "least"),
    [
        pytest.param(
            *(strike_some, backend, way, case, least),
            id=f"{strike_some.__name__}-{backend}-{way.__name__}-{case.__name__}",
        )
        for strike_some in (strike_alone, strike_all, strike_the_first)
        for backend, way in WAYS
        for case, least in CASES.items()
    ],
)
async def test_cancelled_callers_change_nothing(
    sandbox: Sandbox, tmp_path: Path, way: Way, case: Case, least: int, strike_some: StrikeSome
) -> None:
    """Cancelled callers cost no exchange, and the next caller uses the one token."""
    for k in itertools.count(1):
        world, call = await case(sandbox, tmp_path / str(k))
        async with world:
            await world.wait_until_idle()
            world.start_counting()
            tokens = world.tokens
            strike = await strike_some(world, call, way, k)
            assert strike.cancelled or world.tokens == tokens + 1
            await world.check_that_all_is_well()
            assert len(world.asked) == world.needs
            assert world.tokens == tokens + 1
        if not strike.struck:
            break
    assert k - 1 >= least
