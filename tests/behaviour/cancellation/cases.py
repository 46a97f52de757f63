"""Where a refresh may be interrupted: each case makes a world, and the call that gets a token there."""

from __future__ import annotations

import time

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import anyio.lowlevel

from taxizer_async import Credentials, MemoryTokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import ManualClock, Sandbox
from tests.behaviour.cancellation.ways import Call
from tests.behaviour.cancellation.world import BusyStore, RemoteStore, World
from tests.support.callers import auth_of
from tests.support.policies import DUE, PRESSING


Case: TypeAlias = Callable[[Sandbox, Path], Awaitable[tuple[World, Call]]]


def _clock() -> ManualClock:
    # A sleep is a checkpoint however long it takes; back-off is over as soon as a test says so.
    return ManualClock(start=time.time(), autojump=True)


async def cold_call(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    world = World(sandbox, MemoryTokenStore(), clock=_clock())
    return world, world.auth.token


async def cold_request(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    world = World(sandbox, MemoryTokenStore(), clock=_clock())
    return world, world.send


async def cold_with_a_vault(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    async def ask() -> Credentials:
        await anyio.lowlevel.checkpoint()
        return sandbox.credentials

    world = World(sandbox, MemoryTokenStore(), clock=_clock(), credentials=ask)
    return world, world.send


async def _aged(sandbox: Sandbox, age: float) -> tuple[World, Call]:
    clock = _clock()
    world = World(sandbox, MemoryTokenStore(clock=clock), clock=clock)
    await world.auth.token()
    clock.advance(age)
    return world, world.send


async def renewal_ahead_of_need(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    return await _aged(sandbox, DUE)


async def renewal_of_need(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    return await _aged(sandbox, PRESSING)


async def renewal_of_a_dead_token(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    return await _aged(sandbox, 1_000)


async def _revoked(world: World) -> tuple[World, Call]:
    await world.send()
    world.sandbox.revoke()
    return world, world.send


async def renewal_after_a_401(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    return await _revoked(World(sandbox, MemoryTokenStore(), clock=_clock()))


async def cold_with_a_remote_store(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    world = World(sandbox, RemoteStore(), clock=_clock())
    return world, world.send


async def renewal_with_a_remote_store(sandbox: Sandbox, _: Path) -> tuple[World, Call]:
    return await _revoked(World(sandbox, RemoteStore(), clock=_clock()))


async def cold_with_files(sandbox: Sandbox, path: Path) -> tuple[World, Call]:
    world = World(sandbox, FileTokenStore(path), clock=_clock())
    return world, world.send


async def renewal_with_files(sandbox: Sandbox, path: Path) -> tuple[World, Call]:
    return await _revoked(World(sandbox, FileTokenStore(path), clock=_clock()))


async def waiting_for_the_lease(sandbox: Sandbox, path: Path) -> tuple[World, Call]:
    world = World(sandbox, BusyStore(FileTokenStore(path), leases=1), clock=_clock())
    return world, world.send


async def waiting_for_anothers_token(sandbox: Sandbox, path: Path) -> tuple[World, Call]:
    store = FileTokenStore(path)
    await auth_of(sandbox, store=store).token()
    world = World(sandbox, BusyStore(store, leases=2, loads=1), clock=_clock(), needs=0)
    return world, world.send
