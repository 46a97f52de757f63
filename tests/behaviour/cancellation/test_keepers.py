"""`keep_fresh` and `forget` are cancelled at each checkpoint."""

from __future__ import annotations

import itertools
import time

from pathlib import Path

import anyio
import pytest

from taxizer_async import MemoryTokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import ManualClock, Sandbox
from tests.behaviour.cancellation.ways import WAY_NAMES, WAYS, Way
from tests.behaviour.cancellation.world import World
from tests.support.limits import HANG


each_way = pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)


@each_way
async def test_keep_fresh_loses_nothing(sandbox: Sandbox, way: Way) -> None:
    """A refresh that `keep_fresh` started goes on without it."""
    sandbox.lifetime = 40.0
    for k in itertools.count(1):
        clock = ManualClock(start=time.time(), autojump=True)
        async with World(sandbox, MemoryTokenStore(clock=clock), clock=clock) as world:
            with anyio.fail_after(HANG):
                strike = await way(world.auth.keep_fresh, k)
            assert strike.cancelled
            assert not world.auth.status().keep_fresh_running
            begun = max(len(world.asked), world.tokens + world.is_refreshing)
            await world.wait_until_idle()
            assert len(world.asked) == world.tokens == begun
            was_fresh = world.is_fresh
            await world.check_that_all_is_well()
            assert len(world.asked) == world.tokens == begun + (not was_fresh)
        if begun >= 3:
            break
    assert k >= 15


@each_way
async def test_forget_forgets_here_and_harms_nothing(
    sandbox: Sandbox, tmp_path: Path, way: Way
) -> None:
    """A cancelled `forget` drops the token here; the next call adopts what the store still has, or logs in."""
    for k in itertools.count(1):
        store = FileTokenStore(tmp_path / str(k))
        async with World(sandbox, store) as world:
            await world.send()
            await world.wait_until_idle()
            world.start_counting()
            with anyio.fail_after(HANG):
                strike = await way(world.auth.forget, k)
            assert not world.auth.status().usable
            await world.check_that_all_is_well()
            if not strike.cancelled:
                assert len(world.asked) == 1
            assert len(world.asked) <= 1
            assert world.tokens == 2
        if not strike.struck:
            break
    assert k - 1 >= 2


@each_way
async def test_forget_during_a_login_harms_nobody(
    sandbox: Sandbox, tmp_path: Path, way: Way
) -> None:
    """A login during a cancelled `forget` brings a token that was requested after it."""
    for k in itertools.count(1):
        async with World(sandbox, FileTokenStore(tmp_path / str(k))) as world:
            with anyio.fail_after(HANG):
                async with anyio.create_task_group() as tasks:
                    with sandbox.hold("connect") as gate:
                        tasks.start_soon(world.send)
                        await gate.wait_until_async(1)
                        strike = await way(world.auth.forget, k)
            await world.check_that_all_is_well()
            assert len(world.asked) == 2
            assert world.tokens == 1
        if not strike.struck:
            break
    assert k - 1 >= 2
