"""blockbuster, which raises where an event loop is blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.python.life import EXPECTED
from tests.integrations.python.running import costs_of, run_life


if TYPE_CHECKING:
    from pathlib import Path

    from taxizer_async.testing import Sandbox


@pytest.mark.parametrize("store", ["memory", "file", "redis"])
def test_no_event_loop_is_blocked(
    sandbox: Sandbox, tmp_path: Path, redis_url: str, store: str
) -> None:
    """No file is read, no lock waited for and no socket blocked on in an event loop, whatever the store is."""
    where = {
        "memory": {},
        "file": {"STORE_PATH": str(tmp_path / "tokens")},
        "redis": {"REDIS_URL": redis_url},
    }
    program = run_life(
        sandbox, "from blockbuster import BlockBuster; BlockBuster().activate()", **where[store]
    )

    assert costs_of(program) == EXPECTED
    assert program.stderr == ""
