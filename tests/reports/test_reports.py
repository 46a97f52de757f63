"""REPORTS.md says what the marks and the catalogue say, and every report has an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .catalogue import CATALOGUE, Report, Status
from .write import REPORTS, collect_marks, render


if TYPE_CHECKING:
    from .write import Marks


@pytest.fixture(name="marks", scope="module")
def _marks() -> Marks:
    return collect_marks()


def test_the_file_is_up_to_date(marks: Marks) -> None:
    """REPORTS.md is what `python -m tests.reports.write` would write."""
    assert REPORTS.read_text("utf-8") == render(CATALOGUE, marks)


def test_every_report_is_known_once() -> None:
    """The catalogue is in order, and has each number once."""
    numbers = [report.number for report in CATALOGUE]

    assert numbers == sorted(set(numbers))


def test_no_mark_names_an_unknown_report(marks: Marks) -> None:
    """A test answers a report that is in the catalogue."""
    assert marks.keys() <= {report.number for report in CATALOGUE}


@pytest.mark.parametrize("report", CATALOGUE, ids=lambda report: str(report.number))
def test_every_report_has_an_answer(marks: Marks, report: Report) -> None:
    """A report that applies has a test; one that does not apply has a reason and no test."""
    if report.status is Status.APPLIES:
        assert report.number in marks
    elif report.status is Status.NOT_APPLICABLE:
        assert report.note
        assert report.number not in marks
    elif report.number in marks:
        # It says which part is not waited for.
        assert report.note
