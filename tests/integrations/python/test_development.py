"""Python's development mode, which has asyncio's debug mode in it, with each warning an error."""

from __future__ import annotations

import re

from typing import TYPE_CHECKING, Final

import pytest

from .life import EXPECTED
from .running import costs_of, run_life


if TYPE_CHECKING:
    from pathlib import Path

    from taxizer_async.testing import Sandbox


#: asyncio tells of a step of 0.1 s, which any may take on a machine that is busy.
_SLOW_STEP: Final = re.compile(r"^Executing .* took [0-4]\.\d+ seconds\n", re.MULTILINE)


@pytest.mark.parametrize(
    ("backend", "store"), [("asyncio", "file"), ("trio", "file"), ("asyncio", "redis")]
)
def test_nothing_is_complained_of(
    sandbox: Sandbox, tmp_path: Path, redis_url: str, backend: str, store: str
) -> None:
    """Nothing is warned of, left open, never awaited, never retrieved, slow, or called from a wrong thread."""
    where = (
        {"REDIS_URL": redis_url} if store == "redis" else {"STORE_PATH": str(tmp_path / "tokens")}
    )
    program = run_life(sandbox, options=["-X", "dev", "-W", "error"], BACKEND=backend, **where)

    assert costs_of(program) == EXPECTED
    assert _SLOW_STEP.sub("", program.stderr) == ""
