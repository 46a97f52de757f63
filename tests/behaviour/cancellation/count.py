"""
Counts the checkpoints at which calls are cancelled; a program.

``python -m tests.behaviour.cancellation.count [pytest's arguments]``, from the root of the repository, runs the
tests and prints how many points each of them tried, per event loop and way, and the total.
"""

from __future__ import annotations

import sys

from collections import Counter
from typing import TYPE_CHECKING, Final, final

import pytest


if TYPE_CHECKING:
    from collections.abc import Sequence


TESTS: Final = "tests/behaviour/cancellation"


@final
class Tally:
    """A pytest plugin that adds up what tests note as "points"."""

    def __init__(self) -> None:
        self.points: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            points = dict(report.user_properties).get("points", 0)
            self.points[report.nodeid.partition("::")[2]] += int(str(points))


def main(arguments: Sequence[str]) -> int:
    """Run the tests, and print; return pytest's exit code."""
    tally = Tally()
    code = pytest.main(["-q", "-p", "no:randomly", TESTS, *arguments], plugins=[tally])
    for name, points in sorted(tally.points.items()):
        if points:
            sys.stdout.write(f"{points:6}  {name}\n")
    cases = sum(points > 0 for points in tally.points.values())
    sys.stdout.write(f"{tally.points.total():6}  points in {cases} cases\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
