"""STRANGERS.md names tests that exist."""

from __future__ import annotations

import ast
import re

from typing import Final

import pytest

from taxizer_async.testing import TOKEN_STORE_CASES

from .pages import ROOT


TEXT: Final = (ROOT / "tests/STRANGERS.md").read_text("utf-8")
#: Their test, its rule, and ours.
ROWS: Final = re.findall(r"^\| `(\w+)`.*? \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)
NODE_IDS: Final = sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", TEXT)))
CASES: Final = {case.name for case in TOKEN_STORE_CASES}


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_each_test_exists(node_id: str) -> None:
    """A test that is named is there, and so is the case of the store suite in its brackets."""
    path, _, name = node_id.partition("::")
    name, _, case = name.removesuffix("]").partition("[")
    module = ast.parse((ROOT / path).read_text("utf-8"))

    assert name in {getattr(node, "name", None) for node in module.body}
    assert not case or case in CASES


def test_each_rule_is_held_or_not_ours() -> None:
    """Each row has a rule and tests of ours, or the reason why it is not ours."""
    for theirs, rule, ours in ROWS:
        is_ours = rule != "-"
        assert is_ours == bool(re.match("`tests/", ours)), theirs
        assert is_ours != ours.startswith("not ours: "), theirs
