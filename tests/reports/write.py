"""
Writes tests/REPORTS.md: which field report is held by which test.

``python -m tests.reports.write``, from the root of the repository, collects the marks, runs the marked
tests and writes the file if all of them pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from pathlib import Path
from typing import TYPE_CHECKING, Final

from .catalogue import CATALOGUE


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .catalogue import Report


TESTS: Final = Path(__file__).resolve().parent.parent
REPORTS: Final = TESTS / "REPORTS.md"

_HEAD: Final = """\
# Field reports

What users of comparable credential clients ran into, and the tests that would fail if it happened here.
Written by `python -m tests.reports.write`, which runs these tests first; don't edit it.

{counts}

| Report | The fault | Where | Applies | Tests | Result |
| --: | --- | --- | --- | --- | --- |
"""

Marks = dict[int, list[str]]


def collect_marks() -> Marks:
    """Return the tests, without their parameters, that are marked with each number."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "marks.json"
        command = [sys.executable, str(Path(__file__).with_name("collect.py")), str(target)]
        done = subprocess.run(
            command, cwd=TESTS.parent, capture_output=True, check=False, text=True
        )
        if done.returncode:
            msg = f"the marks could not be collected:\n{done.stdout}{done.stderr}"
            raise RuntimeError(msg)
        found: dict[str, list[str]] = json.loads(target.read_text("utf-8"))
    return {int(number): tests for number, tests in found.items()}


def render(catalogue: Iterable[Report], marks: Mapping[int, list[str]]) -> str:
    """Return the text of the file."""
    reports = sorted(catalogue, key=lambda report: report.number)
    held = [report for report in reports if not report.waits and report.number in marks]
    waiting = [report for report in reports if report.waits]
    begun = sum(report.number in marks for report in waiting)
    counts = (
        f"{len(reports)} reports: {len(held)} apply and are held, {len(waiting)} wait for what they "
        f"are about ({begun} of them are held in part), "
        f"{len(reports) - len(held) - len(waiting)} do not apply."
    )
    rows = [_row(report, marks.get(report.number, [])) for report in reports]
    return _HEAD.format(counts=counts) + "".join(rows)


def _row(report: Report, tests: list[str]) -> str:
    applies = report.status.value + (f" ({report.note})" if report.note else "")
    result = "held by the suite" if tests else "—"
    if tests and report.waits:
        result = "held in part by the suite"
    cells = [
        str(report.number),
        report.fault,
        ", ".join(map(_link, report.links)),
        applies,
        "<br>".join(f"`{test}`" for test in tests) or "—",
        result,
    ]
    return f"| {' | '.join(cells)} |\n"


def _link(path: str) -> str:
    owner, name, _, number = path.split("/")
    return f"[{owner}/{name}#{number}](https://github.com/{path})"


def main() -> int:
    """Run the marked tests; if they pass, write the file."""
    marks = collect_marks()
    tests = sorted({test for tests in marks.values() for test in tests})
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", *tests]
    code = subprocess.run(command, cwd=TESTS.parent, check=False).returncode
    if code == 0:
        REPORTS.write_text(render(CATALOGUE, marks), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
