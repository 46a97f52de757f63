"""
Writes tests/REPORTS.md: which field report is held by which test.

``python -m tests.behaviour.reports.write``, from the root of the repository, runs the tests that are marked with a
report, and writes the file if each of their cases passed: none failed, none was skipped.
"""

from __future__ import annotations

import sys

from collections.abc import Iterable, Mapping
from typing import Final, final

import pytest

from tests.support.marks import ROOT, marked_tests

from .catalogue import CATALOGUE, Report


REPORTS: Final = ROOT / "tests" / "REPORTS.md"

_HEAD: Final = """\
# Field reports

What users of comparable credential clients ran into, and the tests that would fail if it happened here.
Written by `python -m tests.behaviour.reports.write` when all of these tests had passed; don't edit it.

| Report | The fault | Where | Tests |
| --: | --- | --- | --- |
"""


def render(catalogue: Iterable[Report], marked: Mapping[int, Iterable[str]]) -> str:
    """Return the text of the file, if all that is *marked* has passed."""
    return _HEAD + "".join(_row(report, marked.get(report.number, ())) for report in catalogue)


def _row(report: Report, tests: Iterable[str]) -> str:
    cells = [
        str(report.number),
        report.fault + (f" ({report.note})" if report.note else ""),
        ", ".join(map(_link, report.links)),
        "<br>".join(f"`{test}`" for test in sorted(tests)),
    ]
    return f"| {' | '.join(cells)} |\n"


def _link(path: str) -> str:
    owner, name, _, number = path.split("/")
    return f"[{owner}/{name}#{number}](https://github.com/{path})"


@final
class _Skipped:
    """A pytest plugin that notes what was skipped."""

    def __init__(self) -> None:
        self.cases: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.cases.append(report.nodeid)


def main() -> int:
    """Run what is marked; if it all passed, write the file."""
    skipped = _Skipped()
    code = pytest.main(["-q", "-n", "auto", "-m", "report"], plugins=[skipped])
    if code == 0 and not skipped.cases:
        REPORTS.write_text(render(CATALOGUE, marked_tests("report")), "utf-8")
        return 0
    sys.stderr.write("".join(f"skipped: {case}\n" for case in skipped.cases))
    return int(code) or 1


if __name__ == "__main__":
    sys.exit(main())
