"""Simulated: ten thousand workers, and more than one Redis serves, on a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.figures import percentile
from benchmarks.report import Claim, Section, Table
from benchmarks.simulation import CASES, LOGIN, ROUND_TRIP, simulate


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.bench import Scale
    from benchmarks.simulation import Course


#: Commands per second that the simulated store serves; the scenario `crowd` measures what a Redis does.
CAPACITY: Final = 40_000.0
_CROWDS: Final = (100, 1_000, 10_000)
_QUICK: Final = (20, 50)
#: The workers of a crowd that is too large to be simulated, and how many stand for it: as the store serves as
#: much less, each waits as long.
_LARGE: Final = (10_000, 20_000, 30_000, 50_000)
_STAND_IN: Final = 1_000
_QUICK_STAND_IN: Final = 20
#: Seconds of a stretch in the plot, and in "at most".
_WIDTH: Final = 0.1
_SECOND: Final = 1.0


def run(scale: Scale) -> Section:
    """Run the scenario."""
    crowds = _QUICK if scale.quick else _CROWDS
    courses = {
        (case, workers): simulate(case, workers, capacity=CAPACITY)
        for case in CASES
        for workers in crowds
    }
    largest: dict[str, Course] = {case: courses[case, crowds[-1]] for case in CASES}
    return Section(
        name="simulated",
        title="Simulated: ten thousand workers",
        about=(
            "The package's own code for N workers that ask for a token at the same moment, or keep it "
            "fresh, over a store in memory that serves "
            f"{CAPACITY:,.0f} commands per second, one after the other. A command is on its way for "
            f"{ROUND_TRIP * 1000:.0f} ms, a login takes {LOGIN * 1000:.0f} ms. The renewal is that of a token "
            "that lasts 1 h; in the outage the endpoint answers 503 to each try. Time is virtual, so these "
            "figures are the same on every machine."
        ),
        tables=(
            Table(
                "What the store and the endpoints see",
                (
                    "case",
                    "workers",
                    "requests to the endpoints",
                    "commands per worker",
                    "commands in the busiest second",
                    "workers with a token",
                    "with an error",
                    "half of them after, s",
                    "the last after, s",
                ),
                tuple(
                    (
                        case,
                        f"{workers:,}",
                        f"{len(course.asked)}",
                        f"{course.per_worker:.1f}",
                        f"{course.peak(_SECOND):,.0f}",
                        f"{len(course.served):,}",
                        f"{len(course.failed):,}",
                        f"{percentile(course.ends, 0.5) - _begins(course, case):.2f}",
                        f"{course.last - _begins(course, case):.2f}",
                    )
                    for (case, workers), course in courses.items()
                ),
            ),
            _end_of_redis(_QUICK_STAND_IN if scale.quick else _STAND_IN),
        ),
        claims=tuple(_claims(largest)),
        remarks=(
            (
                "A renewal counts from the first request for it: before that nobody looks. The others "
                "look when their own time has come, which differs from worker to worker."
            ),
        ),
        series=_series(largest),
    )


def _end_of_redis(stand_in: int) -> Table:
    rows: list[tuple[str, ...]] = []
    for workers in _LARGE:
        course = simulate("cold start", stand_in, capacity=CAPACITY * stand_in / workers)
        rows.append(
            (
                f"{workers:,}",
                f"{_scaled(len(course.asked), workers / stand_in):,.0f}",
                f"{course.unserved / stand_in * 100:.0f}",
                f"{course.last:.1f}",
            )
        )
    return Table(
        f"Cold starts at the same moment beyond what one Redis serves; {stand_in:,} simulated workers stand for all",
        ("workers", "logins", "% that found the store too slow", "the last after, s"),
        tuple(rows),
    )


def _scaled(logins: int, factor: float) -> float:
    """Return the logins of the crowd: the first is one for all, any other of those that went on alone."""
    return 1 + (logins - 1) * factor


def _begins(course: Course, case: str) -> float:
    return min(course.asked, default=0.0) if case == "renewal" else 0.0


def _claims(largest: Mapping[str, Course]) -> list[Claim]:
    some = f"{next(iter(largest.values())).workers:,} workers"
    return [
        Claim(f"{some}, cold: logins", len(largest["cold start"].asked), 1),
        Claim(f"{some}, cold: failures", len(largest["cold start"].failed), 0),
        Claim(f"{some}, renewal: requests to the endpoints", len(largest["renewal"].asked), 1),
        Claim(f"{some}, renewal: commands per worker", largest["renewal"].per_worker, 2),
        Claim(f"{some}, wrong secret: requests", len(largest["wrong secret"].asked), 2),
        Claim(f"{some}, wrong secret: all have failed after", largest["wrong secret"].last, 3, "s"),
        Claim(f"{some}, outage: all have failed after", largest["outage"].last, 31, "s"),
    ]


def _series(largest: Mapping[str, Course]) -> dict[str, Sequence[float]]:
    series: dict[str, Sequence[float]] = {}
    for case, course in largest.items():
        rates = course.rates(_WIDTH)
        first = _begins(course, case)
        name = f"{case}, {course.workers:,} workers"
        series[f"seconds {name}"] = [at - first for at, _ in rates]
        series[f"commands {name}"] = [rate for _, rate in rates]
    return series
