"""Which tests are named after an invariant, so that they are the first that have to notice when it breaks."""

from __future__ import annotations

import ast
import re

from pathlib import Path
from typing import Final


#: The numbers of the design's list.
INVARIANTS: Final = range(1, 28)

_ROOT: Final = Path(__file__).resolve().parents[3]
_FOLDER: Final = Path("tests/behaviour/invariants")
_NAME: Final = re.compile(r"test_invariant_(\d\d)_[a-z0-9_]+")


def number_in(name: str) -> int | None:
    """Return the number of the invariant that a test, or its node id, is named after."""
    found = _NAME.search(name)
    return int(found[1]) if found else None


def named_tests() -> dict[int, tuple[str, ...]]:
    """Return the node ids of the tests of each invariant, in the order in which they are written."""
    tests: dict[int, tuple[str, ...]] = {}
    for path in sorted((_ROOT / _FOLDER).glob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                number = number_in(node.name)
                if number is not None:
                    node_id = f"{_FOLDER.as_posix()}/{path.name}::{node.name}"
                    tests[number] = (*tests.get(number, ()), node_id)
    return tests
