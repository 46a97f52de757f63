"""
The ways to cancel a call at its k-th checkpoint, which is where it suspends itself for the k-th time.

A late `Task.cancel` comes when what is waited for is there already, but the call has not woken yet: only
asyncio's own cancellation can come so late.
"""

from __future__ import annotations

import asyncio

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

import anyio
import attrs
import trio

from tests.behaviour.cancellation.stepping import Stepped


Call: TypeAlias = "Callable[[], Coroutine[Any, Any, object]]"
Way: TypeAlias = "Callable[[Call, int], Awaitable[Strike]]"


@attrs.frozen
class Strike:
    """
    What came of cancelling a call.

    Attributes:
        struck: Whether the call came to its k-th checkpoint.
        cancelled: Whether it ended as cancelled; if not, it was done.
    """

    struck: bool
    cancelled: bool


async def by_anyio_scope(call: Call, k: int) -> Strike:
    """Cancel the anyio scope that the call runs in."""
    return await _in_scope(call, k, anyio.CancelScope())


async def by_trio_scope(call: Call, k: int) -> Strike:
    """Cancel the trio scope that the call runs in."""
    return await _in_scope(call, k, trio.CancelScope())


async def by_task_cancel(call: Call, k: int) -> Strike:
    """Cancel the asyncio task that the call runs in, as it goes to sleep."""
    return await _in_task(call, k, late=False)


async def by_late_task_cancel(call: Call, k: int) -> Strike:
    """Cancel the asyncio task that the call runs in, as it is about to wake."""
    return await _in_task(call, k, late=True)


#: Event loops with what cancels there; the arguments of a test.
WAYS: Final = [
    ("asyncio", by_anyio_scope),
    ("asyncio", by_task_cancel),
    ("asyncio", by_late_task_cancel),
    ("trio", by_anyio_scope),
    ("trio", by_trio_scope),
]
WAY_NAMES: Final = [f"{backend}-{way.__name__}" for backend, way in WAYS]


async def _in_scope(call: Call, k: int, scope: anyio.CancelScope | trio.CancelScope) -> Strike:
    def strike(number: int, _: object) -> None:
        if number == k:
            scope.cancel()

    stepped = Stepped(call(), strike)
    with scope:
        await stepped
    return Strike(stepped.suspensions >= k, scope.cancelled_caught)


async def _in_task(call: Call, k: int, *, late: bool) -> Strike:
    def strike(number: int, awaited: object) -> None:
        if number != k:
            return
        if late and isinstance(awaited, asyncio.Future):
            # It is called before the task is woken, which asks for that later.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()

    async def run() -> None:
        await stepped

    stepped = Stepped(call(), strike)
    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return Strike(stepped.suspensions >= k, task.cancelled())
