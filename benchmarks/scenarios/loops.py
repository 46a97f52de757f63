"""The same on each event loop: asyncio, uvloop, trio."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import anyio

from benchmarks.bench import Scale, all_opened, at_once, in_a_row, succeed, warm_up
from benchmarks.field import BY_NAME, FLOOR, OWN
from benchmarks.figures import Sample, rotated
from benchmarks.report import Section, Table, ratio, spread
from benchmarks.service import Service


LOOPS: Final[dict[str, dict[str, Any]]] = {
    "asyncio": {"backend": "asyncio", "backend_options": {"use_uvloop": False}},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
_NAMES: Final = (FLOOR, OWN)
_ATTACHED: Final = 5_000
_TASKS: Final = 50
_EACH: Final = 4
_CONNECTIONS: Final = 10


def run(scale: Scale) -> Section:
    """Run the scenario."""
    hot: dict[tuple[str, str], list[float]] = {}
    whole: dict[tuple[str, str], list[float]] = {}
    with Service() as service:
        for number in range(scale.rounds):
            for loop in rotated(list(LOOPS), number):
                found = anyio.run(_round, service, scale, number, **LOOPS[loop])
                for name, (attached, requested) in found.items():
                    hot.setdefault((loop, name), []).append(attached)
                    whole.setdefault((loop, name), []).append(requested)
    return Section(
        name="loops",
        title="Event loops",
        about=f"The auth alone, and whole requests, {_TASKS} at once, on each event loop.",
        tables=(
            _table("The auth alone, µs", hot, 2),
            _table("Whole requests, µs", whole, 0),
        ),
    )


def _table(caption: str, found: dict[tuple[str, str], list[float]], digits: int) -> Table:
    samples = {key: Sample(tuple(values)) for key, values in found.items()}
    rows = tuple(
        (
            f"{loop}: {name}",
            spread(samples[loop, name].scaled(1e6), digits),
            ratio(samples[loop, name], samples[loop, FLOOR]),
        )
        for loop in LOOPS
        for name in _NAMES
    )
    return Table(caption, ("loop: contender", "µs", "over the static header"), rows)


async def _round(service: Service, scale: Scale, number: int) -> dict[str, tuple[float, float]]:
    attached, each = scale.of(_ATTACHED), scale.of(_EACH)
    found = {}
    contenders = [BY_NAME[name] for name in _NAMES]
    async with all_opened(service, contenders, connections=_CONNECTIONS) as field:
        for one in field.values():
            await warm_up(one, _CONNECTIONS)
            await at_once(partial(succeed, one.session), _TASKS)
        for name in rotated(_NAMES, number):
            attach = field[name].session.attach
            assert attach is not None
            hot = await in_a_row(attach, attached)
            whole = await at_once(partial(succeed, field[name].session), _TASKS, each)
            found[name] = (hot.wall / attached, whole.wall / _TASKS / each)
    return found
