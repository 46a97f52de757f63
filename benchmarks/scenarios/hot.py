"""What a fresh token costs a request, without sending it: the auth is driven as its library drives it."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import anyio

from benchmarks.bench import Scale, all_opened, in_a_row
from benchmarks.field import FIELD, FLOOR, LEAN, OWN, PEERS, of_floor
from benchmarks.figures import rotated, samples
from benchmarks.report import Claim, Row, Section, Table, peers_ahead, ratio, spread
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.bench import Open
    from benchmarks.figures import Sample


#: Seconds that a batch takes.
_BATCH = 0.05
_PROBE = 200


def run(scale: Scale) -> Section:
    """Run the scenario."""
    found = anyio.run(_measure, scale)
    rows = tuple(
        (name, spread(one.scaled(1e6)), ratio(one, found[FLOOR]), _against_own_floor(name, found))
        for name, one in found.items()
    )
    return Section(
        name="hot",
        title="Hot: the auth alone",
        about=(
            "A fresh token is put on one request, and a canned 200 is handed back; nothing is sent. "
            "The flows of httpx and httpx2 are driven as these libraries do, azure-core's policy and "
            "google-auth's `before_request` as their pipeline and session do. Middlewares of aiohttp "
            "can't be driven without aiohttp."
        ),
        tables=(
            Table(
                "Microseconds per request",
                ("contender", "µs", "over the static header", "over its own library's"),
                rows,
            ),
        ),
        claims=(
            Claim(
                "the hot flow, times the static header",
                found[OWN].over(found[FLOOR]).median,
                1.15,
            ),
        ),
        summary=(
            Row(
                "a fresh token on one request, the auth alone, µs",
                {name: f"{one.scaled(1e6).median:.1f}" for name, one in found.items()},
            ),
        ),
        remarks=(
            (
                f"The static header is the one in the documentation of httpx, a sync `auth_flow`. Compared "
                f"with the leanest possible auth, an `async_auth_flow` of two statements, "
                f"taxizer_async takes {found[OWN].over(found[LEAN]).median:.2f} times as much: it compares "
                f"the origin and reads a clock besides."
            ),
            peers_ahead(
                found,
                OWN,
                PEERS,
                "They compare no origins and note no accepted token; a policy in a pipeline has no generator to be "
                "driven, either.",
            ),
        ),
    )


def _against_own_floor(name: str, found: dict[str, Sample]) -> str:
    floor = of_floor(name)
    return ratio(found[name], found[floor]) if floor in found else ""


async def _measure(scale: Scale) -> dict[str, Sample]:
    with Service() as service:
        async with all_opened(service, FIELD) as field:
            takes_part = {name: one for name, one in field.items() if one.session.attach}
            sizes = {name: await _size(one, scale) for name, one in takes_part.items()}
            rounds = []
            for number in range(scale.many):
                figures = {}
                for name in rotated(list(takes_part), number):
                    attach = takes_part[name].session.attach
                    assert attach is not None
                    spent = await in_a_row(attach, sizes[name])
                    figures[name] = spent.wall / sizes[name]
                rounds.append({name: figures[name] for name in takes_part})
            return samples(rounds)


async def _size(one: Open, scale: Scale) -> int:
    attach = one.session.attach
    assert attach is not None
    await attach()
    began = time.perf_counter()
    await in_a_row(attach, _PROBE)
    return max(_PROBE, int(_BATCH * scale.share / (time.perf_counter() - began) * _PROBE))
