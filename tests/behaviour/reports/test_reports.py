"""REPORTS.md says what the marks and the catalogue say, and every report has an answer."""

from __future__ import annotations

from tests.support.marks import marked_tests

from .catalogue import CATALOGUE, parse
from .write import REPORTS, render


GITHUB = "https://github.com"


def test_the_file_is_up_to_date() -> None:
    """REPORTS.md is what `python -m tests.behaviour.reports.write` would write if all marked tests passed."""
    assert REPORTS.read_text("utf-8") == render(CATALOGUE, marked_tests("report"))


def test_every_report_has_an_answer() -> None:
    """The catalogue is in order, and names the reports that tests are marked with, each once."""
    assert [report.number for report in CATALOGUE] == sorted(marked_tests("report"))


def test_a_row_names_the_tests_of_a_report() -> None:
    """A report's row has what the tests leave out, its links, and its tests in order."""
    catalogue = [parse("1 | one | a/b/issues/7 | a part"), parse("2 | two | a/b/pull/8 c/d/pull/9")]
    text = render(catalogue, {1: ["t.py::b", "t.py::a"], 2: ["t.py::a"]})

    assert [row.split(" | ")[1:] for row in text.splitlines()[-2:]] == [
        ["one (a part)", f"[a/b#7]({GITHUB}/a/b/issues/7)", "`t.py::a`<br>`t.py::b` |"],
        ["two", f"[a/b#8]({GITHUB}/a/b/pull/8), [c/d#9]({GITHUB}/c/d/pull/9)", "`t.py::a` |"],
    ]
