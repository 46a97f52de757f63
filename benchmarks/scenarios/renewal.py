"""How renewals affect a steady load: the latency of each request while tokens expire every few seconds."""

from __future__ import annotations

import time

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from benchmarks.bench import Scale, Tally, opened, undisturbed
from benchmarks.field import BY_NAME, FLOOR, LOCK, OWN, PEERS
from benchmarks.figures import Sample, percentile
from benchmarks.report import Claim, Row, Section, Table, peers_ahead
from benchmarks.service import Service


if TYPE_CHECKING:
    from benchmarks.bench import Open


SECONDS: Final = 60.0
#: Long enough for a renewal.
_QUICK: Final = 4.0
LIFETIME: Final = 3.0
LOGIN: Final = 0.3
#: How early others renew, where that can be set: as early as taxizer_async.
_EARLY: Final = LIFETIME / 4
#: Seconds between two requests of a contender.
_PACE: Final = 0.0125
#: Contenders that run together, and their share of the time. The logins of httpx-auth and the threads of
#: google-auth would slow the others.
_GROUPS: Final = (
    (1.0, (FLOOR, OWN, LOCK, "Authlib", "azure-core")),
    (0.25, (FLOOR, "httpx-auth")),
    (0.25, (FLOOR, "google-auth")),
)


@attrs.frozen(kw_only=True)
class Course:
    """The latencies of a contender's requests by the seconds when they were due, and its exchanges."""

    dues: tuple[float, ...]
    latencies: tuple[float, ...]
    exchanges: int
    failed: int


def run(scale: Scale) -> Section:
    """Run the scenario."""
    seconds = _QUICK if scale.quick else SECONDS
    # A quarter of a quick run has no renewal.
    wanted = _GROUPS[:1] if scale.quick else _GROUPS
    groups = [anyio.run(_measure, seconds * part, names) for part, names in wanted]
    first = groups[0]
    every = {name: course for group in reversed(groups) for name, course in group.items()}
    floor, own = first[FLOOR], first[OWN]
    return Section(
        name="renewal",
        title="Renewal: steady load",
        about=(
            f"{seconds:.0f} s at {1 / _PACE:.0f} requests per second each; a token lives {LIFETIME:.0f} s, "
            f"and a login takes the server {LOGIN * 1000:.0f} ms. A group runs in one event loop, its "
            "requests in turn, so whatever slows the machine slows all. Latencies are "
            "counted from when a request was due. “Waited” is the number of requests that took half a "
            "login or longer."
        ),
        tables=tuple(_table(number, group) for number, group in enumerate(groups, 1)),
        claims=(
            Claim("requests that waited for a renewal", _waited(own), 0),
            _claim("p99.9", own, floor, 0.999),
            _claim("longest", own, floor, 1.0),
            Claim("failed requests in all that time", own.failed, 0),
        ),
        summary=(
            Row(
                "longest latency through renewals of 300 ms, ms",
                {name: f"{max(one.latencies) * 1000:.0f}" for name, one in every.items()},
            ),
            Row(
                "requests that waited for one, per renewal",
                {
                    name: f"{_waited(one) / max(1, one.exchanges):.1f}"
                    for name, one in every.items()
                },
            ),
        ),
        remarks=(
            (
                "The floor's token never expires, so it shows the machine alone. The p99.9 of so many "
                "requests is the sixth longest, and varies from run to run with the machine."
            ),
            (
                f"The lock, Authlib, httpx-auth and azure-core are told to renew {_EARLY:g} s early, as "
                "taxizer_async does by default, and let all requests wait for the login; azure-core puts up to 60 s on "
                "that, at random, but not past the expiry; httpx-auth blocks the "
                "event loop meanwhile. google-auth renews 225 s early, which can't "
                "be set, so it is told that tokens live that much longer."
            ),
            peers_ahead(
                {
                    name: Sample([_waited(one) / max(1, one.exchanges)])
                    for name, one in every.items()
                },
                OWN,
                PEERS,
                "This is for the requests that waited, per renewal.",
            ),
        ),
        series=_series(groups),
    )


def _claim(what: str, own: Course, floor: Course, share: float) -> Claim:
    return Claim(
        f"{what} latency through renewals, times the static header's",
        percentile(own.latencies, share) / percentile(floor.latencies, share),
        1.1,
    )


def _series(groups: list[dict[str, Course]]) -> dict[str, tuple[float, ...]]:
    series = {}
    for group in reversed(groups):
        for name, course in group.items():
            series[f"due {name}"] = course.dues
            series[f"latency {name}"] = course.latencies
    return series


def _waited(course: Course) -> int:
    return sum(latency >= LOGIN / 2 for latency in course.latencies)


def _table(number: int, group: dict[str, Course]) -> Table:
    rows = tuple(
        (
            name,
            *(f"{percentile(one.latencies, share) * 1000:.1f}" for share in (0.5, 0.99, 0.999, 1)),
            f"{_waited(one)}",
            f"{one.exchanges}",
            f"{one.failed} of {len(one.latencies)}",
        )
        for name, one in group.items()
    )
    return Table(
        f"Group {number}, ms",
        ("contender", "p50", "p99", "p99.9", "longest", "waited", "exchanges", "failed"),
        rows,
    )


async def _measure(seconds: float, names: tuple[str, ...]) -> dict[str, Course]:
    with Service() as service:
        async with AsyncExitStack() as stack:
            field = {}
            for name in names:
                contender = BY_NAME[name]
                lifetime = 3600.0 if contender.kind == "floor" else LIFETIME
                field[name] = await stack.enter_async_context(
                    opened(service, contender, early=_EARLY, lifetime=lifetime)
                )
            return await _drive(field, seconds)


async def _drive(field: dict[str, Open], seconds: float) -> dict[str, Course]:
    runs = {name: _Run(one) for name, one in field.items()}
    for one in field.values():
        await one.session.request()
        one.site.set(connect_latency=LOGIN, refresh_latency=LOGIN)
        one.site.reset()
    with undisturbed():
        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number, one_run in enumerate(runs.values()):
                # Each starts a little later than the one before.
                start = began + number * _PACE / len(runs)
                group.start_soon(one_run.send_all, start, seconds)
    return {name: one_run.course(field[name]) for name, one_run in runs.items()}


class _Run:
    def __init__(self, one: Open) -> None:
        self._session = one.session
        self._tally = Tally()
        self._found: list[tuple[float, float]] = []

    async def send_all(self, start: float, seconds: float) -> None:
        async with anyio.create_task_group() as group:
            for number in range(int(seconds / _PACE)):
                due = start + number * _PACE
                await anyio.sleep(max(0.0, due - time.perf_counter()))
                group.start_soon(self._send, due, due - start)

    async def _send(self, due: float, since: float) -> None:
        await self._tally.count(self._session)
        self._found.append((since, time.perf_counter() - due))

    def course(self, one: Open) -> Course:
        dues, latencies = zip(*sorted(self._found), strict=True)
        return Course(
            dues=dues,
            latencies=latencies,
            exchanges=one.site.counters()["exchanges"],
            failed=self._tally.failed,
        )
