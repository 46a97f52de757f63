"""What is written of a run says what came of it."""

from __future__ import annotations

import pytest

from benchmarks.figures import Sample
from benchmarks.report import (
    Claim,
    Row,
    Section,
    Table,
    claim_table,
    markdown,
    page,
    peers_ahead,
    plain,
    ratio,
    spread,
    with_summary,
)


KEPT = Claim("logins", 1, 1)
MISSED = Claim("first request", 69.4, 50, "ms")
SECTION = Section(
    name="fleet",
    title="Fleet",
    about="Eight processes.",
    tables=(Table("Logins", ("contender", "logins"), (("taxizer_async", "1"), ("others", "8"))),),
    claims=(KEPT, MISSED),
    remarks=("They share a file.",),
    summary=(Row("logins of eight processes", {"own": "1", "peer": "8"}),),
)


@pytest.mark.parametrize(
    ("value", "limit", "holds"), [(1.0, 1.0, True), (1.001, 1.0, False), (-1.0, 0.0, True)]
)
def test_a_claim_holds_up_to_its_limit(value: float, limit: float, holds: bool) -> None:
    """At most means that."""
    assert Claim("", value, limit).holds is holds


def test_a_missed_claim_is_in_the_table() -> None:
    """Nothing is left out for being bad."""
    assert claim_table([SECTION]).rows == (
        ("logins", "1", "1", "kept"),
        ("first request", "50 ms", "69.4 ms", "MISSED"),
    )


def test_figures_are_told_with_their_spread() -> None:
    """A median alone says little."""
    sample, floor = Sample((1.0, 2.0, 4.0)), Sample((1.0, 1.0, 1.0))

    assert spread(sample, 1) == "2.0 (1.0 … 4.0)"
    assert ratio(sample, floor) == "2.00 (1.00 … 4.00)"


def test_a_peer_that_needs_less_is_named() -> None:
    """A reason is shown only where there is one."""
    found = {"own": Sample((2.0, 2.0)), "peer": Sample((1.0, 1.2)), "floor": Sample((1.0, 1.0))}

    said = peers_ahead(found, "own", {"peer"}, "It does less.")

    assert said == "Less than own, as a ratio to it: peer (0.55). It does less."
    assert peers_ahead(found, "peer", {"own"}, "") == "No peer needs less than peer."


def test_a_table_becomes_markdown() -> None:
    """Its first column is text, the others are figures."""
    assert markdown(SECTION.tables[0]).splitlines() == [
        "Logins:",
        "",
        "| contender | logins |",
        "| --- | ---: |",
        "| taxizer_async | 1 |",
        "| others | 8 |",
    ]


def test_a_table_is_aligned_on_a_terminal() -> None:
    """Figures end below each other."""
    assert plain(SECTION.tables[0]).splitlines() == [
        "Logins",
        "contender      logins",
        "-------------  ------",
        "taxizer_async       1",
        "others              8",
    ]


def test_the_documentation_gets_the_summary_of_the_run() -> None:
    """What stands between the marks of the summary is replaced, and nothing else."""
    results = page([SECTION], {}, {}, {"own": "taxizer_async", "other": "another"})
    old = "Before.\n\n<!-- summary -->\n\nOld.\n\n<!-- end of summary -->\n\nAfter.\n"

    text = with_summary(old, results)

    assert text.startswith("Before.\n\n<!-- summary -->\n\nIn short:\n\n|  | taxizer_async |")
    assert text.endswith("| 1 |  |\n\n<!-- end of summary -->\n\nAfter.\n")


def test_a_peer_can_be_no_better_than_nothing() -> None:
    """Where ours needs nothing, no peer needs less."""
    found = {"own": Sample((0.0,)), "peer": Sample((0.0,))}

    assert peers_ahead(found, "own", {"peer"}, "") == "No peer needs less than own."


def test_the_page_has_all_of_it() -> None:
    """The machine, the claims, each section with its remarks, and the plots."""
    text = page(
        [SECTION],
        {"Python": "3.11"},
        {"plots/a.svg": "Logins per start"},
        {"own": "taxizer_async", "other": "another"},
    )

    for part in (
        "| Python | 3.11 |",
        "In short:\n\n|  | taxizer_async | another |\n",
        "| logins of eight processes | 1 |  |",
        "| first request | 50 ms | 69.4 ms | MISSED |",
        "## Fleet\n\nEight processes.\n\nLogins:",
        "- They share a file.",
        "![Logins per start](plots/a.svg)",
    ):
        assert part in text
    assert text.endswith(")\n")
