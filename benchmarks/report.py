"""The results of scenarios as values, and how they are written: tables, claims, the page of results."""

from __future__ import annotations

import re

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs


if TYPE_CHECKING:
    from benchmarks.figures import Sample


_SUMMARY: Final = re.compile(r"<!-- summary -->.*<!-- end of summary -->", re.DOTALL)


@attrs.frozen
class Table:
    """Rows under a head, with a *caption*."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@attrs.frozen
class Claim:
    """A promise: *value* is at most *limit*, both in *unit*."""

    text: str
    value: float
    limit: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether it was kept."""
        return self.value <= self.limit


@attrs.frozen
class Row:
    """A line of the summary: *what* is compared, and the figures by contender."""

    what: str
    figures: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Section:
    """
    The results of a scenario.

    Attributes:
        name: Its name for `--only`.
        title: Its heading.
        about: What was measured, and how.
        tables: The figures.
        claims: The promises, and whether they were kept.
        remarks: Explanations of the figures.
        summary: The lines for the summary.
        series: For the plots: names and values.
    """

    name: str
    title: str
    about: str
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...] = ()
    remarks: tuple[str, ...] = ()
    summary: tuple[Row, ...] = ()
    series: Mapping[str, Sequence[float]] = attrs.field(factory=dict)


def spread(sample: Sample, digits: int = 2) -> str:
    """Return the median and the range."""
    return f"{sample.median:.{digits}f} ({sample.least:.{digits}f} … {sample.most:.{digits}f})"


def ratio(sample: Sample, floor: Sample, digits: int = 2) -> str:
    """Return the median of the ratios per round, and their range."""
    return spread(sample.over(floor), digits)


def peers_ahead(found: Mapping[str, Sample], own: str, peers: Collection[str], why: str) -> str:
    """Return a remark on *peers* with a lower median than *own*, and *why*."""
    if found[own].least <= 0:
        return f"No peer needs less than {own}."
    ratios = {name: found[name].over(found[own]).median for name in found if name in peers}
    ahead = [f"{name} ({value:.2f})" for name, value in ratios.items() if value < 1]
    if not ahead:
        return f"No peer needs less than {own}."
    return f"Less than {own}, as a ratio to it: {', '.join(ahead)}. {why}"


def markdown(table: Table) -> str:
    """Return *table* as Markdown."""
    lines = [
        f"{table.caption}:",
        "",
        _row(table.head),
        _row(["---", *("---:" for _ in table.head[1:])]),
        *map(_row, table.rows),
    ]
    return "\n".join(lines)


def plain(table: Table) -> str:
    """Return *table* for a terminal."""
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    lines = [_padded(row, widths) for row in (table.head, *table.rows)]
    return "\n".join(
        [table.caption, lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
    )


def claim_table(sections: Sequence[Section]) -> Table:
    """Return all claims, and whether they were kept."""
    rows = [
        (
            claim.text,
            _figure(claim.limit, claim.unit),
            _figure(claim.value, claim.unit),
            _verdict(claim),
        )
        for section in sections
        for claim in section.claims
    ]
    return Table("What was promised", ("claim", "at most", "measured", ""), tuple(rows))


def summary_table(sections: Sequence[Section], columns: Mapping[str, str]) -> Table:
    """Return the lines of all summaries; *columns* are the heads by contender."""
    rows = tuple(
        (row.what, *(row.figures.get(name, "") for name in columns))
        for section in sections
        for row in section.summary
    )
    return Table("In short", ("", *columns.values()), rows)


def page(
    sections: Sequence[Section],
    facts: Mapping[str, str],
    plots: Mapping[str, str],
    columns: Mapping[str, str],
) -> str:
    """
    Return results.md.

    Args:
        sections: The results.
        facts: Facts about the machine and the run.
        plots: Captions by file name.
        columns: The heads of the summary by contender.
    """
    parts = [
        "# Results",
        (
            "Written by `nox -s bench`; do not edit. Medians of interleaved rounds, with the range of the "
            "rounds in parentheses. A ratio is taken within each round, so that a drift of the machine "
            "cancels; below 1 is less than what it is compared with."
        ),
        markdown(Table("This run", ("what", "which"), tuple(facts.items()))),
        "<!-- summary -->",
        markdown(summary_table(sections, columns)),
        "<!-- end of summary -->",
        markdown(claim_table(sections)),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.about, *map(markdown, section.tables)]
        parts += [f"- {remark}" for remark in section.remarks]
    parts.append("## Plots")
    parts += [f"![{caption}]({file})" for file, caption in plots.items()]
    return "\n\n".join(parts) + "\n"


def with_summary(text: str, results: str) -> str:
    """Return *text* with the summary of *results*, a results.md, in place of its own."""
    (summary,) = _SUMMARY.findall(results)
    return _SUMMARY.sub(lambda _: summary, text)


def _figure(value: float, unit: str) -> str:
    text = f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{text} {unit}".strip()


def _verdict(claim: Claim) -> str:
    return "kept" if claim.holds else "MISSED"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()
