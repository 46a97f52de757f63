"""`python -m tests.campaigns.soak.run --seconds 60 --backend asyncio --seed 1`: exits with 1 if a rule is broken."""

from __future__ import annotations

import argparse
import functools
import random
import sys

import anyio

from tests.campaigns.soak.bounds import find_violations
from tests.campaigns.soak.soak import Plan, soak
from tests.campaigns.soak.table import draw


#: Seconds of a round at most, so that each has some showers and a long outage.
_ROUND = 6.0


def main() -> int:
    """Soak, and tell."""
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
    # First, for the case that it does not come to an end.
    _say(f"seed {plan.seed} on {wanted.backend}")
    report = anyio.run(functools.partial(soak, plan), backend=wanted.backend)
    violations = find_violations(report)
    _say(draw(report))
    for violation in violations:
        _say(f"BROKEN: {violation}")
    _say(f"{'broken' if violations else 'clean'}: seed {plan.seed} on {wanted.backend}")
    return 1 if violations else 0


def _say(text: str) -> None:
    print(text)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
