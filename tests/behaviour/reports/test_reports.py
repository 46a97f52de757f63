"""REPORTS.md says what the marks and the catalogue say, and every report has an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .catalogue import CATALOGUE, Report, Status
from .write import REPORTS, missing, render


if TYPE_CHECKING:
    from .write import Marked


pytestmark = pytest.mark.xdist_group("reports")


def test_the_file_is_up_to_date(marked: Marked) -> None:
    """REPORTS.md is what `python -m tests.behaviour.reports.write` would write, if all it counts passes."""
    assert REPORTS.read_text("utf-8") == render(CATALOGUE, marked)


def test_every_report_is_known_once() -> None:
    """The catalogue is in order, and has each number once."""
    numbers = [report.number for report in CATALOGUE]

    assert numbers == sorted(set(numbers))


def test_no_mark_names_an_unknown_report(marked: Marked) -> None:
    """A test answers a report that is in the catalogue."""
    assert marked.keys() <= {report.number for report in CATALOGUE}


@pytest.mark.parametrize("report", CATALOGUE, ids=lambda report: str(report.number))
def test_every_report_has_an_answer(marked: Marked, report: Report) -> None:
    """A report that applies has a test; one that does not apply has a reason and no test."""
    if report.status is Status.APPLIES:
        assert report.number in marked
    elif report.status is Status.NOT_APPLICABLE:
        assert report.note
        assert report.number not in marked
    elif report.number in marked:
        # It says which part is not waited for.
        assert report.note


def test_a_row_counts_what_has_passed() -> None:
    """A report's row has its tests and how many cases of them passed, and says if that is a part."""
    catalogue = [
        Report(1, "one", ("a/b/issues/7",)),
        Report(2, "two", ("a/b/pull/8",), Status.ADAPTERS, note="a part"),
        Report(3, "three", ("a/b/pull/9",), Status.ADAPTERS),
        Report(4, "four", ("a/b/pull/9",), Status.NOT_APPLICABLE, note="why"),
    ]
    marked = {1: ["t.py::b[x]", "t.py::b[y]", "t.py::a"], 2: ["t.py::a"]}
    text = render(catalogue, marked)

    assert [row.split(" | ")[3:] for row in text.splitlines()[-4:]] == [
        ["yes", "`t.py::a`<br>`t.py::b`", "3 passed |"],
        ["waits for the adapters (a part)", "`t.py::a`", "in part: 1 passed |"],
        ["waits for the adapters", "—", "— |"],
        ["no (why)", "—", "— |"],
    ]
    assert "| 1 | one | [a/b#7](https://github.com/a/b/issues/7) | yes |" in text
    assert (
        "4 reports: 1 apply and are held, 2 wait for what they are about (1 of them are held in part), "
        "1 do not apply."
    ) in text


def test_what_has_not_passed_is_missed() -> None:
    """A marked case that failed, was skipped or was not run keeps the file from being written."""
    marked = {1: ["t.py::a[x]", "t.py::b"], 2: ["t.py::a[x]", "t.py::a[y]"]}

    assert missing(marked, ["t.py::a[x]", "t.py::a[y]", "t.py::b", "t.py::c"]) == []
    assert missing(marked, ["t.py::b"]) == ["t.py::a[x]", "t.py::a[y]"]
