"""How much memory coroutines need while they wait for a login."""

from __future__ import annotations

import gc
import tracemalloc

from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from benchmarks.bench import OVER, Scale, opened
from benchmarks.field import FIELD, OWN, PEERS
from benchmarks.figures import Sample, rotated
from benchmarks.report import Row, Section, Table, peers_ahead, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


CROWD: Final = 10_000
#: Seconds that a login takes: longer than it takes to start and measure the crowd.
_LOGIN: Final = 20.0
#: Iterations of the event loop until all coroutines wait.
_TURNS: Final = 20
#: Enough, as rounds hardly differ.
_ROUNDS: Final = 3
_BARE: Final = "an anyio.Event, and nothing else"
#: httpx-auth is left out: its login blocks the event loop, so no coroutine waits.
_PEERS: Final = {
    one.name: one
    for one in FIELD
    if one.kind != "floor" and not one.blocks and one.name != "taxizer_async (aiohttp)"
}


def run(scale: Scale) -> Section:
    """Run the scenario."""
    crowd = scale.of(CROWD)
    found = anyio.run(_measure, scale, crowd)
    bare = found[_BARE].median
    rows = tuple(
        (name, spread(one.scaled(crowd / 1e6), 1), f"{one.median - bare:+.0f}")
        for name, one in found.items()
    )
    return Section(
        name="memory",
        title="Memory of those that wait",
        about=(
            f"{crowd:,} tasks wait for a login that is under way; what Python has allocated for them, "
            "tasks included, as tracemalloc counts it."
        ),
        tables=(
            Table(
                f"MB per {crowd:,} waiting coroutines",
                ("contender", "MB", "bytes each, beside a bare wait"),
                rows,
            ),
        ),
        summary=(
            Row(
                f"{crowd:,} that wait for a login, MB",
                {name: f"{one.scaled(crowd / 1e6).median:.0f}" for name, one in found.items()},
            ),
        ),
        remarks=(
            peers_ahead(
                found,
                OWN,
                PEERS,
                "A coroutine that waits for taxizer_async is a few frames deeper, and the start of its "
                "wait is kept for the operator.",
            ),
        ),
    )


async def _measure(scale: Scale, crowd: int) -> dict[str, Sample]:
    names = [_BARE, *_PEERS]
    found: dict[str, list[float]] = {name: [] for name in names}
    with Service() as service:
        for number in range(min(_ROUNDS, scale.rounds)):
            for name in rotated(names, number):
                found[name].append(await _weigh(service, name, crowd) / crowd)
    return {name: Sample(tuple(values)) for name, values in found.items()}


async def _weigh(service: Service, name: str, crowd: int) -> int:
    if name == _BARE:
        return await _allocated(anyio.Event().wait, crowd)
    async with opened(service, _PEERS[name], lifetime=OVER) as one:
        one.site.set(connect_latency=_LOGIN, refresh_latency=_LOGIN)
        attach = one.session.attach
        assert attach is not None
        return await _allocated(attach, crowd)


async def _allocated(wait: Callable[[], Coroutine[Any, Any, object]], crowd: int) -> int:
    async with anyio.create_task_group() as group:
        # The memory of the leader's login does not count.
        group.start_soon(wait)
        for _ in range(_TURNS):
            await anyio.sleep(0.005)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(crowd):
                group.start_soon(wait)
            for _ in range(_TURNS):
                await anyio.lowlevel.checkpoint()
            allocated, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            group.cancel_scope.cancel()
    return allocated
