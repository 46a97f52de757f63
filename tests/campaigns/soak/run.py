"""`python -m tests.campaigns.soak.run --seconds 60 --backend asyncio --seed 1`: exits with 1 if a rule is broken."""

from __future__ import annotations

import argparse
import functools
import random
import sys

from typing import TYPE_CHECKING

import anyio

from tests.campaigns.soak.bounds import find_violations
from tests.campaigns.soak.output import census_line, say, say_verdict
from tests.campaigns.soak.soak import Plan, soak


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaigns.soak.soak import Report


#: Seconds of a round at most, so that each has some showers and a long outage.
_ROUND = 6.0


def main() -> int:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(description="Soak the package in load and faults.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--workers", type=int, default=25, help="for each of two auths")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    wanted = parser.parse_args()
    plan = Plan(
        seconds=wanted.seconds,
        round_seconds=min(_ROUND, wanted.seconds / 2),
        warm_up=2 if wanted.seconds > 4 * _ROUND else 1,
        workers=wanted.workers,
        seed=wanted.seed,
    )
    # First, in case the soak never ends.
    run = f"seed {plan.seed} on {wanted.backend}"
    say(run)
    report = anyio.run(functools.partial(soak, plan), backend=wanted.backend)
    return say_verdict(_figures(report), find_violations(report), run)


def _figures(report: Report) -> Iterator[str]:
    judge = report.judge
    yield f"{report.seconds:.1f} s, {report.crew.visits:,} clients opened and closed"
    yield f"{judge.violated:,} requests could have been saved, {judge.longest:.2f} s for the slowest"
    yield f"{max(report.recoveries, default=0.0):.2f} s until all were served after an outage,"
    yield f"{report.slowest_shower:.2f} s after a shower; {report.overruns} showers overran"
    for counts in (judge.counts, report.counters, report.crew.events, report.faults):
        yield from (f"  {count:10,}  {name}" for name, count in sorted(counts.items()))
    for number, census in enumerate((report.start, *report.censuses)):
        yield census_line(f"round {number}", census)
    before, after = report.sandbox_resident
    yield f"the sandbox's process: {before:,} bytes of memory, then {after:,}"


if __name__ == "__main__":
    sys.exit(main())
