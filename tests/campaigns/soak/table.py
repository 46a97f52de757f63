"""What a soak looks like on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.campaigns.soak.bounds import (
    MORE_BLOCKS,
    MORE_RESIDENT,
    MORE_TRACKED,
    MOST_THREADS,
    baseline,
)
from tests.campaigns.soak.weather import LIFETIME, RECOVERS_WITHIN


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.campaigns.soak.soak import Report


_MIB: Final = 1024 * 1024


def draw(report: Report) -> str:
    """Return all figures of *report*."""
    return "\n".join((*_requests(report), "", *_faults(report), "", *_censuses(report)))


def _requests(report: Report) -> Iterator[str]:
    counts, now = report.judge.counts, report.counters
    seconds, all_requests = report.seconds, sum(counts.values()) + report.judge.violated
    yield f"{all_requests:,} requests in {seconds:.1f} s ({all_requests / seconds:,.0f}/s)"
    yield from _rows(counts.items())
    yield from _rows([("could have been saved", report.judge.violated)])
    yield f"  {report.judge.longest:10.2f}  seconds for the slowest"
    yield f"{seconds / LIFETIME:.0f} lifetimes of {LIFETIME:g} s, {report.crew.visits:,} clients opened and closed"
    yield from _rows((name.replace("_ok", " that succeeded"), now[name]) for name in now)
    yield from _rows(sorted(report.crew.events.items()))
    worst = max(report.recoveries, default=0.0)
    yield f"all served {worst:.2f} s after an outage at the latest ({RECOVERS_WITHIN:g} allowed), "
    yield f"and {report.slowest_shower:.2f} s after a shower; {report.overruns} showers overran"


def _faults(report: Report) -> Iterator[str]:
    yield f"{sum(report.faults.values())} faults"
    yield from _rows(sorted(report.faults.items()))


def _censuses(report: Report) -> Iterator[str]:
    yield "round   tasks threads files sockets objects  tracked   blocks  resident"
    named = [("start", report.start)]
    named += [(str(number), census) for number, census in enumerate(report.censuses, 1)]
    for name, census in named:
        mark = " <- compared with" if census is baseline(report) else ""
        yield (
            f"{name:>5} {census.tasks:7} {census.threads:7} {census.files:5} {census.sockets:7}"
            f" {sum(census.objects.values()):7} {census.tracked:8,} {census.blocks:8,}"
            f" {census.resident / _MIB:5.1f} MiB{mark}"
        )
    yield (
        f"allowed:   +0   +{MOST_THREADS}*   +0      +0      +0 {f'+{MORE_TRACKED:,}':>8}"
        f" {f'+{MORE_BLOCKS:,}':>8} {f'+{MORE_RESIDENT / _MIB:.1f}':>5} MiB (* since the start)"
    )
    before, after = (size / _MIB for size in report.sandbox_resident)
    yield f"apart from that, the sandbox's process: {before:.1f} -> {after:.1f} MiB"


def _rows(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, count in rows:
        yield f"  {count:10,}  {name}"
