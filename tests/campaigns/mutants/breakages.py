"""
Ways to break the package by hand, and the tests that have to notice.

Each is a slip that a person could make: a check dropped, a bound lost, two steps swapped. `breakages.diff` holds them
as diffs:

    @@ INVARIANT NAME FILE
    @ NODE-ID
    -lines of FILE, whole
    +and what replaces them

FILE is relative to the package. Its old lines must occur there exactly once, so a change to them calls for a look at
the breakage. A NODE-ID names a test to run before those that are marked with the invariant; one of all has to fail.
"""

from __future__ import annotations

import re

from pathlib import Path
from typing import Final

import attrs


#: The numbers of the design's list.
INVARIANTS: Final = range(1, 28)


@attrs.frozen(kw_only=True)
class Breakage:
    """
    One way to break the package.

    Attributes:
        name: What is broken, in a few words.
        invariant: The invariant of the design that it breaks.
        file: The module, relative to the package.
        old: The text that is replaced …
        new: … and by what.
        tests: Node ids of tests that notice, besides those marked with the invariant.
    """

    name: str
    invariant: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


def read_breakages(name: str) -> tuple[Breakage, ...]:
    """Return the breakages in the file *name* beside this module."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    sections = re.split("^@@ ", re.sub("^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    return tuple(_breakage(*section.rstrip("\n").split("\n")) for section in sections[1:])


def _breakage(header: str, *lines: str) -> Breakage:
    invariant, name, file = header.split()
    return Breakage(
        name=name,
        invariant=int(invariant),
        file=file,
        old="".join(f"{line[1:]}\n" for line in lines if line[:1] in {"", " ", "-"}),
        new="".join(f"{line[1:]}\n" for line in lines if line[:1] in {"", " ", "+"}),
        tests=tuple(line[2:] for line in lines if line.startswith("@ ")),
    )


BREAKAGES: Final = read_breakages("breakages.diff")
