"""The event loops that differ in when things run: uvloop, and asyncio with eager tasks."""

from __future__ import annotations

import asyncio
import sys

from typing import TYPE_CHECKING

import anyio
import pytest

from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from taxizer_async import TaxizerAuth
    from taxizer_async.testing import Sandbox
    from tests.behaviour.auth.conftest import FleetFactory


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
def test_all_of_it_works(
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
