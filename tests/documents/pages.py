"""The pages of the documentation, and the code in them."""

from __future__ import annotations

import re

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs


ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
#: What is written elsewhere, and only shown in the documentation, is a link there.
PAGES: Final = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink()),
]
NAMES: Final = {str(page.relative_to(ROOT)): page for page in PAGES}

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@attrs.frozen(kw_only=True)
class Block:
    """
    A block of code.

    Attributes:
        name: Of its page, with its number there.
        title: The name of the file that it is, if it is one.
    """

    name: str
    language: str
    title: str | None
    code: str


def text_of(name: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return NAMES[name].read_text("utf-8")


def blocks_of(name: str) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    for number, found in enumerate(_BLOCK.finditer(text_of(name))):
        indent = found["indent"]
        code = "".join(
            line.removeprefix(indent) for line in found["code"].splitlines(keepends=True)
        )
        yield Block(
            name=f"{name}-{number}", language=found["language"], title=found["title"], code=code
        )


BLOCKS: Final = {block.name: block for name in NAMES for block in blocks_of(name)}
