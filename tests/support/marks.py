"""Which tests are marked with a number, read from their source."""

from __future__ import annotations

import ast

from collections.abc import Iterator
from pathlib import Path
from typing import Final


ROOT: Final = Path(__file__).resolve().parents[2]


def marked_tests(mark: str, *, slow: bool = True) -> dict[int, tuple[str, ...]]:
    """Return the node ids of the tests with `@pytest.mark.MARK(number, ...)`, by number and in the order of the source."""
    tests: dict[int, tuple[str, ...]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text("utf-8")
        if f"mark.{mark}(" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                if slow or "pytest.mark.slow" not in decorators:
                    node_id = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                    for number in _numbers(decorators, f"pytest.mark.{mark}("):
                        tests[number] = (*tests.get(number, ()), node_id)
    return tests


def _numbers(decorators: list[str], start: str) -> Iterator[int]:
    for decorator in decorators:
        if decorator.startswith(start):
            yield from map(int, decorator.removeprefix(start).removesuffix(")").split(","))
