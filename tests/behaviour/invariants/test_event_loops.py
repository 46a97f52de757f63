"""Invariant 6: what belongs to an event loop dies with it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from taxizer_async import TaxizerAuth
from tests.support.limits import HANG


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from taxizer_async.testing._sandbox.gate import Gate


async def log_in_as_the_second(auth: TaxizerAuth, gate: Gate) -> None:
    """Have *auth* log in while an earlier login of its is held at *gate*, and let both go then."""
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(2)
            gate.release()


@pytest.mark.report(106)
def test_invariant_06_a_loop_that_is_closed_in_mid_login_holds_nobody_up(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """The next caller, on another loop, logs in at once."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    loop = asyncio.new_event_loop()
    with sandbox.hold("connect") as gate:
        task = loop.create_task(auth.token())
        loop.run_until_complete(gate.wait_until_async(1))
        loop.close()

        anyio.run(log_in_as_the_second, auth, gate, backend=anyio_backend[0])

    assert not task.done()
    assert sandbox.counters.connects == 2
    assert auth.status().usable


@pytest.mark.report(107)
def test_invariant_06_loops_that_come_and_go_are_not_kept(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """A shared auth, `keep_fresh` in each loop, and no loop that is still alive in the end."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
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


@pytest.mark.report(108)
def test_invariant_06_a_loop_that_blocks_in_mid_login_is_left_behind(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """Another thread's loop goes on by itself after a few seconds."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    served = threading.Event()

    async def log_in_and_block() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            began.set()
            served.wait(HANG)

    began = threading.Event()
    with sandbox.hold("connect") as gate:
        thread = threading.Thread(
            target=anyio.run, args=(log_in_and_block,), kwargs={"backend": anyio_backend[0]}
        )
        thread.start()
        assert began.wait(HANG)
        try:
            anyio.run(log_in_as_the_second, auth, gate, backend=anyio_backend[0])
            assert not served.is_set()
        finally:
            served.set()
            thread.join()

    assert sandbox.counters.connects == 2
    # What came back late is not what is used.
    assert auth.status().logins == 1


def test_invariant_06_a_keep_fresh_whose_loop_stands_still_counts_as_gone(sandbox: Sandbox) -> None:
    """A status says whether `keep_fresh` runs, not whether it was ever begun."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
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
