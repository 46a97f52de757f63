"""The field reports in `catalogue.txt`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

import attrs


@final
@attrs.frozen
class Report:
    """
    One report.

    Attributes:
        number: What tests are marked with.
        fault: What went wrong there, in a few words.
        links: Where it was reported, below https://github.com/.
        note: What the tests leave out.
    """

    number: int
    fault: str
    links: tuple[str, ...] = ()
    note: str = ""


def parse(line: str) -> Report:
    """Return the report that a line of the catalogue describes."""
    number, fault, links, *note = (cell.strip() for cell in line.split("|"))
    return Report(int(number), fault, tuple(links.split()), *note)


_LINES: Final = Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
CATALOGUE: Final = tuple(parse(line) for line in _LINES if line[:1] not in {"", "#"})
