"""What the documentation lists is what there is."""

from __future__ import annotations

import logging
import re
import tomllib

from typing import Final

import attrs
import pytest

import taxizer_async

from taxizer_async import AuthStatus, ExchangeFailed, TaxizerError, TokenRefused, invoices
from taxizer_async._core.log_lines import HANDED_BACK, LINES, LOGIN_FAILED
from tests.documents.pages import ROOT, text_of


ERRORS: Final = {
    name
    for name, value in vars(taxizer_async).items()
    if isinstance(value, type) and issubclass(value, TaxizerError)
}
INVOICE_ERRORS: Final = {name for name in invoices.__all__ if name.endswith("Error")}
RUNBOOK: Final = "docs/runbook.md"
LOG_LINES: Final = "docs/reference/log-lines.md"
RESULTS: Final = (ROOT / "benchmarks" / "results.md").read_text("utf-8")


def test_the_extras_table_is_complete() -> None:
    """Each extra has its line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    told = re.findall(
        r"^\| `taxizer-async\[(\w+)\]`", text_of("docs/reference/installation.md"), re.MULTILINE
    )

    assert sorted(project["optional-dependencies"]) == sorted(told)


def test_the_errors_table_is_complete() -> None:
    """Each public error has its line."""
    told = re.findall(r"^\| `(\w+)`.*\|$", text_of("docs/reference/errors.md"), re.MULTILINE)

    assert set(told) >= ERRORS | INVOICE_ERRORS


def test_each_event_is_listed() -> None:
    """The page of events has a line for each."""
    told = re.findall(r"^\| `(\w+)` \|", text_of("docs/reference/events.md"), re.MULTILINE)

    assert sorted(told) == sorted(kind.__name__ for kind in LINES)


def test_each_log_line_is_explained() -> None:
    """The page of log lines has the beginning, the level and the event of each line."""
    told = re.findall(r"^\| `(.+?)` \| (\w+) \| `(\w+)` \|", text_of(LOG_LINES), re.MULTILINE)
    lines = [*LINES.items(), (ExchangeFailed, LOGIN_FAILED), (TokenRefused, HANDED_BACK)]

    assert sorted(told) == sorted(
        (line.beginning.strip(), logging.getLevelName(line.level), kind.__name__)
        for kind, line in lines
    )


def test_each_field_of_a_log_record_is_listed() -> None:
    """The page of log lines has the fields of each event, under the names that a record has."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*)\|$", text_of(LOG_LINES), re.MULTILINE)
    told = {
        kind: re.findall(r"`(\w+)`", fields)
        for kinds, fields in rows
        for kind in re.findall(r"`(\w+)`", kinds)
    }

    for kind in LINES:
        fields = [f"taxizer_{field.name}" for field in attrs.fields(kind)]
        assert told[kind.__name__] == fields


def test_each_other_log_line_is_explained() -> None:
    """The page of log lines has the beginning of every other text that the package logs."""
    calls = re.compile(r"(?:LOG|_log)\.(?:debug|info|warning|error)\(\s*\"(.*?)[(:%\"]")
    sources = (ROOT / "taxizer_async").rglob("*.py")
    texts = [text for path in sources for text in calls.findall(path.read_text("utf-8")) if text]

    assert len(texts) >= 3
    assert [text for text in texts if f"| `{text.strip()}" not in text_of(LOG_LINES)] == []


def test_the_runbook_is_found_by_the_log_line() -> None:
    """The runbook has the beginning of each line that an operator should act on."""
    runbook = text_of(RUNBOOK)
    urgent = [
        line.beginning.strip()
        for line in (*LINES.values(), LOGIN_FAILED)
        if line.level >= logging.WARNING
    ]

    assert [each for each in urgent if each not in runbook] == []


def test_each_field_of_the_status_is_explained() -> None:
    """There is a line for each field of `status()`."""
    health = text_of("docs/reference/values.md").split("\n## ")[1]

    assert {field.name for field in attrs.fields(AuthStatus)} == {
        name
        for cell in re.findall(r"^\| (`.*?`) \|", health, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }


def test_each_error_has_an_entry_in_the_runbook() -> None:
    """The runbook has an entry for each error."""
    entries = re.findall(r"^### (\w+Error)$", text_of(RUNBOOK), re.MULTILINE)

    assert set(entries) == ERRORS - {"TaxizerError"}


def test_each_guarantee_names_tests_that_exist() -> None:
    """Each guarantee names a test, and each of these is in its file."""
    _, *guarantees = text_of("docs/explanation/guarantees.md").split("\n### ")
    named = [
        re.findall(r"^- `([\w/]+\.py)::(test_\w+)`", each, re.MULTILINE) for each in guarantees
    ]

    assert len(guarantees) > 10
    assert all(named), guarantees
    for path, test in {each for tests in named for each in tests}:
        text = (ROOT / "tests" / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{path}::{test}"


def test_the_benchmarks_page_quotes_the_last_run() -> None:
    """The page has the summary of the last run, which kept all promises."""
    _, summary, _ = re.split(r"^<!-- .* -->$", RESULTS, flags=re.MULTILINE)

    assert summary.strip() in text_of("docs/benchmarks.md")
    assert "MISSED" not in RESULTS


#: What the README says, and the figures of the last run that it stands on.
QUOTED: Final = {
    "one renewal, 0 failures. With Authlib, httpx-auth and azure-core all 500 fail": (
        "that was revoked: logins and renewals; failed |  | 1; 0 | 1; 0 | 0; 500 | 0; 500 | 0; 500 |"
    ),
    "share 1 login, through a file or Redis. With a lock, Authlib and httpx-auth they make 8": (
        "| 8 processes that start at once: logins |  | 1 | 8 | 8 | 8 |"
    ),
    "takes 36 ms, and 39 ms with a static header. With the others it takes 313 to 365 ms": (
        "renewals of 300 ms, ms | 39 | 36 | 365 | 313 | 345 | 315 | 323 |"
    ),
    "0 of 200 requests fail, with 3 calls to the endpoints": (
        "| taxizer_async (httpx) | 0 of 200; 3 |"
    ),
    "With Authlib 146 fail": "| Authlib | 146 of 200; 146 |",
    "2.7 µs per request, and a static header 2.8 µs. Authlib takes 38.8 µs": (
        "on one request, the auth alone, µs | 2.8 | 2.7 | 2.7 | 38.8 |"
    ),
}


@pytest.mark.parametrize("phrase", QUOTED)
def test_the_figures_in_the_readme_were_measured(phrase: str) -> None:
    """Each figure in the README is one of the last run."""
    assert phrase in text_of("README.md")
    assert QUOTED[phrase] in RESULTS


def test_the_readme_is_short() -> None:
    """The README has 600 to 800 words, code and tables included."""
    assert 600 <= len(text_of("README.md").split()) <= 800


def test_the_faults_in_the_readme_are_held_by_tests() -> None:
    """There are at least as many field reports with a test as the README says."""
    told = re.search(r"reported more than (\d+) faults", text_of("README.md"))
    reports = (ROOT / "tests" / "REPORTS.md").read_text("utf-8")

    assert told is not None
    assert len(re.findall(r"^\| \d+ \|", reports, re.MULTILINE)) > int(told[1])
