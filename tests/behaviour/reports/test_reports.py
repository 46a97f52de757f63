"""REPORTS.md says what the marks and the catalogue say, and every report has an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .catalogue import CATALOGUE, parse
from .write import REPORTS, missing, render


if TYPE_CHECKING:
    from .write import Marked


GITHUB = "https://github.com"

pytestmark = pytest.mark.xdist_group("reports")


def test_the_file_is_up_to_date(marked: Marked) -> None:
    """REPORTS.md is what `python -m tests.behaviour.reports.write` would write, if all it counts passes."""
    assert REPORTS.read_text("utf-8") == render(CATALOGUE, marked)


def test_every_report_has_an_answer(marked: Marked) -> None:
    """The catalogue is in order, and names the reports that tests are marked with, each once."""
    assert [report.number for report in CATALOGUE] == sorted(marked)


def test_a_row_counts_what_has_passed() -> None:
    """A report's row has its tests, and how many cases of them passed."""
    catalogue = [parse("1 | one | a/b/issues/7 | a part"), parse("2 | two | a/b/pull/8 c/d/pull/9")]
    text = render(catalogue, {1: ["t.py::b[x]", "t.py::b[y]", "t.py::a"], 2: ["t.py::a"]})

    assert [row.split(" | ")[1:] for row in text.splitlines()[-2:]] == [
        ["one (a part)", f"[a/b#7]({GITHUB}/a/b/issues/7)", "`t.py::a`<br>`t.py::b`", "3 passed |"],
        [
            "two",
            f"[a/b#8]({GITHUB}/a/b/pull/8), [c/d#9]({GITHUB}/c/d/pull/9)",
            "`t.py::a`",
            "1 passed |",
        ],
    ]


def test_what_has_not_passed_is_missed() -> None:
    """A marked case that failed, was skipped or was not run keeps the file from being written."""
    marked = {1: ["t.py::a[x]", "t.py::b"], 2: ["t.py::a[x]", "t.py::a[y]"]}

    assert missing(marked, ["t.py::a[x]", "t.py::a[y]", "t.py::b", "t.py::c"]) == []
    assert missing(marked, ["t.py::b"]) == ["t.py::a[x]", "t.py::a[y]"]
