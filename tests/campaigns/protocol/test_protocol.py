"""The searches and mutations of `run` are about what the model says."""

import re

from tests.campaigns.protocol.run import LIVENESS, MODEL, MUTATIONS, SEARCHES, promise_at


TEXT = MODEL.read_text("utf-8")
#: The letters of the list at the model's top.
PROMISES = set(re.findall(r"^ \* \((\w)\) ", TEXT, re.MULTILINE))


def test_each_promise_is_searched_for_and_can_be_broken() -> None:
    """Each promise of the model is in a search, and a mutation of the model breaks it."""
    assert {letter for each in SEARCHES for letter in each.promises} == PROMISES
    assert {each.promises for each in MUTATIONS} == PROMISES


def test_each_mutation_is_in_the_model() -> None:
    """The names in the model's conditions are the mutations, and no others."""
    names = set(re.findall(r"^#ifn?def (\w+)$", TEXT, re.MULTILINE))
    assert names - {"CLIENTS", "TOKENS", "TIMED"} == {each.mutation for each in MUTATIONS}


def test_each_assertion_is_of_a_promise() -> None:
    """Each assertion has the letter of its promise, and each promise but that of the formula has one."""
    lines = TEXT.splitlines()
    asserted = {promise_at(at) for at, line in enumerate(lines, 1) if "assert(" in line}
    assert asserted == PROMISES - {LIVENESS}
    assert f"ltl {LIVENESS} " in TEXT
