"""Each invariant has its tests and its breakages, and the breakages are of this source and these tests."""

from __future__ import annotations

import ast
import functools

from pathlib import Path

import pytest

import taxizer_async

from tests.campaigns.mutants.breakages import BREAKAGES, INVARIANTS, Breakage
from tests.campaigns.mutants.store_breakages import STORE_BREAKAGES
from tests.support.marks import marked_tests


PACKAGE = Path(taxizer_async.__file__).parent
ROOT = Path(__file__).resolve().parents[3]
MARKED = marked_tests("invariant", slow=False)


@functools.cache
def functions_of(file: str) -> set[str]:
    nodes = ast.parse((ROOT / file).read_text("utf-8")).body
    return {
        node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@pytest.mark.parametrize("number", INVARIANTS)
def test_an_invariant_has_a_test_and_a_breakage(number: int) -> None:
    """At least one test is marked with it, and at least one way to break it is known."""
    assert MARKED.get(number)
    assert any(breakage.invariant == number for breakage in (*BREAKAGES, *STORE_BREAKAGES))


@pytest.mark.parametrize(
    "breakage", [*BREAKAGES, *STORE_BREAKAGES], ids=lambda breakage: breakage.name
)
def test_a_breakage_is_up_to_date(breakage: Breakage) -> None:
    """Its text is in the source, once, and the tests that have to notice are there."""
    source = (PACKAGE / breakage.file).read_text("utf-8")
    assert source.count(breakage.old) == 1
    assert breakage.tests or breakage.invariant in MARKED
    for test in breakage.tests:
        file, _, function = test.partition("::")
        assert not function or function in functions_of(file)
