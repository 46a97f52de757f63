"""nest_asyncio, which runs an event loop within itself, and replaces asyncio's tasks by those in Python."""

from __future__ import annotations

import json
import sys

from typing import TYPE_CHECKING

import pytest

from tests.integrations.python.life import EXPECTED
from tests.integrations.python.running import ROOT, costs_of, run_life
from tests.support import families

from .nested import DEADLINE, DEEP


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


APPLY = "import nest_asyncio; nest_asyncio.apply()"
CODE = (
    f"import sys; sys.path.append({ROOT!r}); "
    "from tests.integrations.neighbours.nested import main; main()"
)


@pytest.mark.parametrize(
    "prelude", [APPLY, f"import taxizer_async; {APPLY}"], ids=["before", "after"]
)
def test_a_life_costs_the_same(sandbox: Sandbox, prelude: str) -> None:
    """It does not matter whether it is applied before or after the import."""
    program = run_life(sandbox, prelude, options=["-W", "error"])

    assert costs_of(program) == EXPECTED
    assert program.stderr == ""


def test_calls_within_each_other() -> None:
    """Single flight, deadlines and `forget` hold for calls that each run the loop again."""
    program = families.run([sys.executable, "-W", "error", "-c", CODE])

    assert program.stderr == ""
    seen = json.loads(program.stdout)
    assert seen["crowd"] == [["Token"] * DEEP, 1]
    assert seen["hang"] == [["TokenEndpointUnavailableError"] * DEEP, 1]
    assert DEADLINE <= seen["seconds"] < 2 * DEADLINE
    # The one that was forgotten, and its successor.
    assert seen["forget"] == 2
    # The loop's own is abandoned, as the loop is blocked.
    assert seen["sync"] == [True, 2]
    assert seen["left"] == ["Token", 1]
