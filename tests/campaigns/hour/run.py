"""`python -m tests.campaigns.hour.run --seconds 3600 --seed 1 --output FOLDER`: exits with 1 if a rule is broken."""

from __future__ import annotations

import argparse
import platform
import random
import sys

from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from taxizer_async import RenewalPolicy
from tests.campaigns.hour import course
from tests.campaigns.hour.long_run import Plan, long_run
from tests.campaigns.soak.bounds import more_memory
from tests.campaigns.soak.output import census_line, say, say_verdict
from tests.campaigns.soak.weather import LIFETIME, POLICY


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaigns.hour.long_run import Report


def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser(description="Run for long, and see that nothing grows.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument(
        "--output", type=Path, default=Path(), help="a folder for hour.csv, hour.svg"
    )
    parser.add_argument(
        "--brief", action="store_true", help="some seconds of short lives, without plot and trend"
    )
    wanted = parser.parse_args()
    wanted.output.mkdir(parents=True, exist_ok=True)
    plan = (_brief_plan if wanted.brief else _plan)(wanted)
    # First, in case the run never ends.
    say(f"seed {plan.seed}, Python {platform.python_version()}")
    report = anyio.run(long_run, plan, backend="asyncio")
    if wanted.brief:
        growth = more_memory(report.before, report.after)
    else:
        growth = report.growth()
        _draw(report, wanted.output)
    violations = [*report.faults(), *growth]
    return say_verdict(_figures(report), violations, f"seed {plan.seed}")


def _plan(wanted: argparse.Namespace) -> Plan:
    return Plan(
        seconds=wanted.seconds,
        warm_up=min(240.0, wanted.seconds / 3),
        lifetime=60.0,
        # The default, except that service is back soon after refused credentials, too.
        policy=RenewalPolicy(rejected_for=5.0),
        interval=min(10.0, wanted.seconds / 20),
        pause=10.0,
        brief=False,
        seed=wanted.seed,
        output=wanted.output / "hour.csv",
    )


def _brief_plan(wanted: argparse.Namespace) -> Plan:
    return Plan(
        seconds=4.0,
        warm_up=4.0,
        lifetime=LIFETIME,
        policy=POLICY,
        interval=0.2,
        pause=0.3,
        brief=True,
        seed=wanted.seed,
        output=wanted.output / "hour.csv",
    )


def _draw(report: Report, folder: Path) -> None:
    from tests.campaigns.hour import plot  # noqa: PLC0415 - it needs matplotlib, and a brief run does not

    plot.draw(report.samples, folder)


def _figures(report: Report) -> Iterator[str]:
    first, last = report.samples[0], report.samples[-1]
    share = (last.processor - first.processor) / (last.seconds - first.seconds)
    yield f"{last.seconds:,.0f} s, {share:.1%} of a core, {last.loops:,} event loops"
    yield f"{last.logins:,} logins, {last.refreshes:,} refreshes, {last.reuses} reuses"
    yield f"{report.judge.violated:,} requests could have been saved, {report.judge.longest:.2f} s for the slowest"
    yield from (f"  {count:10,}  {name}" for name, count in sorted(report.judge.counts.items()))
    yield f"{'':14}{'first quarter: median, most':>30}{'last quarter: median, most':>30}{'rise':>14}"
    for each in course.trends(report.samples):
        yield (
            f"{each.name:14}{each.first:18,.0f}{each.first_most:12,.0f}"
            f"{each.last:18,.0f}{each.last_most:12,.0f}{each.rise / each.level:14.2%}"
        )
    for name, census in (("warm-up", report.before), ("the end", report.after)):
        yield census_line(f"quiet after {name}", census)


if __name__ == "__main__":
    sys.exit(main())
