"""
Which cases are marked with which report, and which of them pass; a program: ``collect.py FILE ARGUMENTS``.

The arguments are pytest's. It is run in a process of its own, as pytest can't be run within pytest, and
by its path, as this folder need not be importable there. It writes what it saw to FILE, as JSON.
A session that has collected all tests reads the marks itself, with `marks_of`.
"""

from __future__ import annotations

import json
import sys

from pathlib import Path
from typing import TYPE_CHECKING, final

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def marks_of(items: Iterable[pytest.Item]) -> dict[int, list[str]]:
    """Return the cases that are marked with each report."""
    marked: dict[int, list[str]] = {}
    for item in items:
        for mark in item.iter_markers("report"):
            (number,) = mark.args
            marked.setdefault(number, []).append(item.nodeid)
    return marked


@final
class Observer:
    """A pytest plugin; with xdist's workers it sees outcomes but no marks."""

    def __init__(self) -> None:
        self.marked: dict[int, list[str]] = {}
        self.passed: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.marked = marks_of(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


def main(target: str, arguments: Sequence[str]) -> int:
    """Run pytest, and write what was seen to *target*; return its exit code."""
    observer = Observer()
    code = pytest.main(list(arguments), plugins=[observer])
    seen = {"marked": observer.marked, "passed": observer.passed}
    Path(target).write_text(json.dumps(seen), "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
