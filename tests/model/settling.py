"""Running all tasks until each waits for something, in the same order each time, on both backends."""

from __future__ import annotations

import asyncio

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sniffio
import trio
import trio.testing


if TYPE_CHECKING:
    from collections.abc import Iterator


#: A turn that needs more than this never ends.
_MOST_TURNS = 2_000


async def settle() -> bool:
    """Let all tasks run until they wait; False if they never do."""
    if sniffio.current_async_library() == "trio":
        await trio.testing.wait_all_tasks_blocked()
        return True
    loop: Any = asyncio.get_running_loop()
    for _ in range(_MOST_TURNS):
        await asyncio.sleep(0)
        if not loop._ready:
            return True
    return False


@contextmanager
def in_order(seed: int) -> Iterator[None]:
    """Have trio, which shuffles tasks on purpose, shuffle them alike for each *seed*."""
    run: Any = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before
