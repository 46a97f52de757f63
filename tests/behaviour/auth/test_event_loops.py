"""Event loops that end, block, come and go, or run their tasks in another order."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import weakref

from typing import Any

import anyio.lowlevel
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import Fault, ManualClock, Sandbox
from taxizer_async.testing._sandbox.gate import Gate
from tests.support.callers import PATH, FleetFactory, auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import DUE


async def log_in_as_the_second(auth: TaxizerAuth, gate: Gate) -> None:
    """Have *auth* log in while its earlier login is held at *gate*; then release both."""
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(2)
            gate.release()


@pytest.mark.invariant(6)
@pytest.mark.report(106)
def test_a_loop_that_is_closed_in_mid_login_holds_nobody_up(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """The next caller, on another loop, logs in at once."""
    auth = auth_of(sandbox)
    loop = asyncio.new_event_loop()
    with sandbox.hold("connect") as gate:
        task = loop.create_task(auth.token())
        loop.run_until_complete(gate.wait_until_async(1))
        loop.close()

        anyio.run(log_in_as_the_second, auth, gate, backend=anyio_backend[0])

    assert not task.done()
    assert sandbox.counters.connects == 2
    assert auth.status().usable


@pytest.mark.invariant(6)
@pytest.mark.report(107)
def test_loops_that_come_and_go_are_not_kept(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """An auth that serves twenty loops, each with a `keep_fresh`, keeps none of them alive."""
    auth = auth_of(sandbox)
    loops: list[weakref.ref[object]] = []

    async def main() -> None:
        loops.append(weakref.ref(anyio.lowlevel.current_token().native_token))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.keep_fresh)
            await auth.token()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    for _ in range(20):
        anyio.run(main, backend=anyio_backend[0])
    gc.collect()

    assert [loop for loop in loops if loop() is not None] == []
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(6)
def test_a_keep_fresh_counts_as_gone_when_its_loop_stands_still(sandbox: Sandbox) -> None:
    """`keep_fresh_running` is False once the loop of `keep_fresh` stands still."""
    auth = auth_of(sandbox)
    loop = asyncio.new_event_loop()
    task = loop.create_task(auth.keep_fresh())

    async def look() -> bool:
        await auth.token()
        await anyio.wait_all_tasks_blocked()
        return auth.status().keep_fresh_running

    assert loop.run_until_complete(look())
    assert not auth.status().keep_fresh_running

    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def _uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this platform")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


@pytest.mark.parametrize("make_loop", [_uvloop, _eager], ids=["uvloop", "eager"])
def test_other_event_loops_work_alike(
    sandbox: Sandbox, auth: TaxizerAuth, fleet: FleetFactory, make_loop: object
) -> None:
    """A cold start, a revocation, a caller that leaves and an outage end as on any other loop."""
    sandbox.connect_latency = sandbox.refresh_latency = 0.05

    async def main() -> None:
        async with fleet(auth) as clients, anyio.create_task_group() as tasks:
            assert await clients.send(50) == [200] * 50
            sandbox.revoke()
            assert await clients.send(50) == [200] * 50
            tasks.start_soon(auth.keep_fresh)
            await auth.forget()
            with anyio.move_on_after(0.02):
                await auth.token()
            assert await clients.send(50) == [200] * 50
            sandbox.revoke()
            sandbox.fail("refresh", Fault.status(503), times=1)
            assert await clients.send(50) == [200] * 50
            tasks.cancel_scope.cancel()

    assert callable(make_loop)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())

    assert sandbox.counters.connects_ok <= 4
    assert sandbox.counters.refreshes_ok == 1
    assert sandbox.counters.reuses == 0


@pytest.mark.invariant(5)
@pytest.mark.parametrize(
    ("backend", "options"),
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True}), ("trio", {})],
    ids=["asyncio", "uvloop", "trio"],
)
def test_short_programs_finish_the_renewal_that_they_begin(
    sandbox: Sandbox, backend: str, options: dict[str, Any]
) -> None:
    """Of many short-lived loops that find a renewal due, one renews, and it is not cut off."""
    clock = ManualClock(start=time.time())
    auth = auth_of(sandbox, clock=clock)

    async def send() -> None:
        async with client_of(auth) as client:
            assert (await client.post(PATH)).status_code == 200

    anyio.run(send, backend=backend, backend_options=options)
    clock.advance(DUE)
    sandbox.refresh_latency = 0.3
    for _ in range(20):
        anyio.run(send, backend=backend, backend_options=options)

    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 1)
