"""
The ways to cut off a refresh at its k-th checkpoint, where its task suspends itself for the k-th time.

An event loop that ends does it once the refresh has used up the time that it got to finish. On asyncio a
program may also cancel all tasks while the loop runs, even those that are about to wake.
"""

from __future__ import annotations

import asyncio

from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

import anyio

from taxizer_async._token.single_flight import RefreshCoordinator, SharedRefresh
from tests.behaviour.cancellation.stepping import Stepped
from tests.support.limits import HANG


#: Ends the task that is about to wait for the given thing.
Way: TypeAlias = "Callable[[Any, object], None]"


def by_its_loop(task: Any, _: object) -> None:
    """End the task as its loop does after the time to finish."""
    getattr(task, "end", task).cancel()


def by_task_cancel(task: Any, _: object) -> None:
    """Cancel the asyncio task, as it goes to sleep."""
    task.cancel()


def by_late_task_cancel(task: Any, awaited: object) -> None:
    """Cancel the asyncio task when what it waits for is there already, but it has not woken yet."""
    if isinstance(awaited, asyncio.Future):
        # It is called before the task is woken, which asks for that later.
        awaited.add_done_callback(lambda _: task.cancel())
    else:
        task.cancel()


#: Event loops with what cuts off there; the arguments of a test.
WAYS: Final = [
    ("asyncio", by_its_loop),
    ("asyncio", by_task_cancel),
    ("asyncio", by_late_task_cancel),
    ("trio", by_its_loop),
]
WAY_NAMES: Final = [f"{backend}-{way.__name__}" for backend, way in WAYS]


@final
class CutOff:
    """Cuts off the next refresh of *coordinator* at its *k*-th checkpoint, and leaves later ones alone."""

    def __init__(self, coordinator: RefreshCoordinator, way: Way, k: int) -> None:
        self._run = coordinator._run
        self._way = way
        self._k = k
        self._is_used = False
        #: How many checkpoints the refresh came to.
        self.suspensions = 0
        #: Set once its task has ended.
        self.ended = anyio.Event()
        coordinator._run = self._run_stepped

    @property
    def struck(self) -> bool:
        """Whether the refresh came to its k-th checkpoint."""
        return self.suspensions >= self._k

    async def _run_stepped(self, refresh: SharedRefresh) -> None:
        if self._is_used:
            await self._run(refresh)
            return
        self._is_used = True
        task: Any = None

        def notice(number: int, awaited: object) -> None:
            nonlocal task
            # It is not to be had there any more once the refresh is over.
            task = task or refresh.task
            self.suspensions = number
            if number == self._k:
                self._way(task, awaited)

        try:
            await Stepped(self._run(refresh), notice)
        finally:
            self.ended.set()

    async def wait(self) -> None:
        """Wait until the refresh has ended."""
        with anyio.fail_after(HANG):
            await self.ended.wait()
