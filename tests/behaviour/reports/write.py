"""
Writes tests/REPORTS.md: which field report is held by which test.

``python -m tests.behaviour.reports.write``, from the root of the repository, runs the tests that are marked with a
report, and writes the file if each of their cases passed: none failed, none was skipped. So `test_reports`, which
compares the file with the marks, only counts the cases and does not run them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .catalogue import CATALOGUE


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .catalogue import Report


TESTS: Final = Path(__file__).resolve().parents[2]
REPORTS: Final = TESTS / "REPORTS.md"

_HEAD: Final = """\
# Field reports

What users of comparable credential clients ran into, and the tests that would fail if it happened here.
Written by `python -m tests.behaviour.reports.write` when all of these tests had passed; don't edit it.

{count} reports:

| Report | The fault | Where | Tests | Result |
| --: | --- | --- | --- | --- |
"""

#: The cases that are marked with each number.
Marked: TypeAlias = dict[int, list[str]]


def collect() -> Marked:
    """Return what is marked, without running it."""
    seen, code, output = _observe(["--collect-only", "-qq", "-m", "report"], quiet=True)
    if code:
        msg = f"the marks could not be collected:\n{output}"
        raise RuntimeError(msg)
    return {int(number): cases for number, cases in seen["marked"].items()}


def missing(marked: Mapping[int, list[str]], passed: Iterable[str]) -> list[str]:
    """Return the marked cases that have not *passed*."""
    return sorted({case for cases in marked.values() for case in cases}.difference(passed))


def render(catalogue: Iterable[Report], marked: Mapping[int, list[str]]) -> str:
    """Return the text of the file, if all that is *marked* has passed."""
    reports = sorted(catalogue, key=lambda report: report.number)
    rows = [_row(report, marked.get(report.number, [])) for report in reports]
    return _HEAD.format(count=len(reports)) + "".join(rows)


def _row(report: Report, cases: list[str]) -> str:
    tests = Counter(case.partition("[")[0] for case in cases)
    cells = [
        str(report.number),
        report.fault + (f" ({report.note})" if report.note else ""),
        ", ".join(map(_link, report.links)),
        "<br>".join(f"`{test}`" for test in sorted(tests)),
        f"{len(cases)} passed",
    ]
    return f"| {' | '.join(cells)} |\n"


def _link(path: str) -> str:
    owner, name, _, number = path.split("/")
    return f"[{owner}/{name}#{number}](https://github.com/{path})"


def _observe(arguments: list[str], *, quiet: bool) -> tuple[dict[str, Any], int, str]:
    """Run pytest with *arguments*; return what `collect.py` saw, the exit code and the output."""
    # Its options might choose other tests.
    environment = {name: os.environ[name] for name in os.environ if name != "PYTEST_ADDOPTS"}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "seen.json"
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("collect.py")), str(target), *arguments],
            cwd=TESTS.parent,
            env=environment,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            check=False,
            text=True,
        )
        seen = json.loads(target.read_text("utf-8")) if target.exists() else {}
    return seen, done.returncode, done.stdout or ""


def main() -> int:
    """Run what is marked; if it all passed, write the file."""
    marked = collect()
    seen, code, _ = _observe(["-q", "-n", "auto", "-m", "report"], quiet=False)
    unproven = missing(marked, seen.get("passed", []))
    if code == 0 and not unproven:
        REPORTS.write_text(render(CATALOGUE, marked), "utf-8")
        return 0
    sys.stderr.write("".join(f"not passed: {case}\n" for case in unproven))
    return code or 1


if __name__ == "__main__":
    sys.exit(main())
