"""
Which tests are marked with which report; a program: ``collect.py FILE [pytest's arguments]``.

It is run in a process of its own, as pytest can't be run within pytest, and by its path, as this folder
need not be importable there. It writes what it found to FILE, as JSON.
"""

from __future__ import annotations

import json
import sys

from pathlib import Path
from typing import TYPE_CHECKING, final

import pytest


if TYPE_CHECKING:
    from collections.abc import Sequence


@final
class Collector:
    """A pytest plugin that notes the numbers of the marks."""

    def __init__(self) -> None:
        self.marks: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        found: dict[str, set[str]] = {}
        for item in session.items:
            for mark in item.iter_markers("report"):
                (number,) = mark.args
                found.setdefault(str(number), set()).add(item.nodeid.partition("[")[0])
        self.marks = {number: sorted(tests) for number, tests in found.items()}


def main(target: str, arguments: Sequence[str]) -> int:
    """Collect, and write the marks to *target*; return pytest's exit code."""
    collector = Collector()
    code = pytest.main(["--collect-only", "-qq", "-m", "report", *arguments], plugins=[collector])
    Path(target).write_text(json.dumps(collector.marks), "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
