"""What whole requests cost over loopback with a fresh token, for several numbers of concurrent tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from benchmarks.bench import Scale, all_opened, at_once, succeed, warm_up
from benchmarks.field import FIELD, FLOOR, OWN, PEERS, of_floor
from benchmarks.figures import rotated, samples
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, ratio, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.bench import Open, Spent
    from benchmarks.figures import Sample


#: Concurrent tasks, and the requests of a batch.
DEGREES: Final = {1: 200, 50: 300, 200: 400}
#: The pool of httpx looks at each connection for each request, so its cost varies widely with many.
_CONNECTIONS: Final = 10


def run(scale: Scale) -> Section:
    """Run the scenario."""
    walls, cpus = anyio.run(_measure, scale)
    return Section(
        name="requests",
        title="Whole requests",
        about=(
            "POSTs with a small JSON body to the sandbox, which runs in another process, over at most "
            f"{_CONNECTIONS} open connections. Times are clock time, and processor time of the client."
        ),
        tables=(
            *(_table(degree, found, "by the clock") for degree, found in walls.items()),
            _table(50, cpus[50], "of the client's processor"),
        ),
        claims=tuple(
            Claim(
                f"a whole request, {degree} at once, times the static header",
                found[OWN].over(found[FLOOR]).median,
                1.02,
            )
            for degree, found in walls.items()
        ),
        summary=(
            Row(
                "a whole request, 50 at once, over its HTTP library's static header",
                {
                    name: f"{one.over(walls[50][of_floor(name)]).median:.2f}"
                    for name, one in walls[50].items()
                },
            ),
        ),
        remarks=(
            peers_ahead(
                cpus[50],
                OWN,
                PEERS,
                "The HTTP library makes the difference: the pool of httpx2 and aiohttp, which azure-core "
                "uses, are faster than httpx. taxizer_async runs on both, too; the last column compares "
                "each contender with its own library.",
            ),
        ),
        series={f"{name}": one.scaled(1e6).values for name, one in cpus[50].items()},
    )


def _table(degree: int, found: dict[str, Sample], what: str) -> Table:
    rows = tuple(
        (
            name,
            spread(one.scaled(1e6), 0),
            ratio(one, found[FLOOR], 3),
            ratio(one, found[of_floor(name)], 3),
        )
        for name, one in found.items()
    )
    return Table(
        f"{degree} at once, {what}",
        ("contender", "µs per request", "over the static header", "over its own library's"),
        rows,
    )


async def _measure(
    scale: Scale,
) -> tuple[dict[int, dict[str, Sample]], dict[int, dict[str, Sample]]]:
    # The largest number takes as long as all others together.
    degrees = list(DEGREES)[:-1] if scale.quick else DEGREES
    rounds: dict[int, list[dict[str, Spent]]] = {degree: [] for degree in degrees}
    with Service() as service:
        for degree, found in rounds.items():
            async with all_opened(service, FIELD, connections=_CONNECTIONS) as field:
                for one in field.values():
                    await warm_up(one, min(degree, _CONNECTIONS))
                    await at_once(partial(succeed, one.session), degree)
                for number in range(scale.fine):
                    found.append(await _round(field, number, degree, scale))
    walls = {degree: _samples(found, "wall") for degree, found in rounds.items()}
    cpus = {degree: _samples(found, "cpu") for degree, found in rounds.items()}
    return walls, cpus


async def _round(
    field: dict[str, Open], number: int, degree: int, scale: Scale
) -> dict[str, Spent]:
    each = max(1, scale.of(DEGREES[degree]) // degree)
    found = {}
    for name in rotated(list(field), number):
        spent = await at_once(partial(succeed, field[name].session), degree, each)
        found[name] = spent.over(degree * each)
    return {name: found[name] for name in field}


def _samples(rounds: list[dict[str, Spent]], what: str) -> dict[str, Sample]:
    return samples([{name: getattr(spent, what) for name, spent in one.items()} for one in rounds])
