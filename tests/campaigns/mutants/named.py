"""Which tests are marked with an invariant, so that they are the first that have to notice when it breaks."""

from __future__ import annotations

import ast

from pathlib import Path
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterator


#: The numbers of the design's list.
INVARIANTS: Final = range(1, 28)

_ROOT: Final = Path(__file__).resolve().parents[3]


def marked_tests() -> dict[int, tuple[str, ...]]:
    """Return the node ids of the tests of each invariant, in the order in which they are written; no slow ones."""
    tests: dict[int, tuple[str, ...]] = {}
    for path in sorted((_ROOT / "tests").rglob("test_*.py")):
        text = path.read_text("utf-8")
        if "mark.invariant(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_slow(node):
                node_id = f"{path.relative_to(_ROOT).as_posix()}::{node.name}"
                for number in _marks_of(node):
                    tests[number] = (*tests.get(number, ()), node_id)
    return tests


def _is_slow(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator) == "pytest.mark.slow" for decorator in test.decorator_list)


def _marks_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for decorator in test.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(attr="invariant"), args=[ast.Constant(value=int(number))]
            ):
                yield number
            case _:
                pass
