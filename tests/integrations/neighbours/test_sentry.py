"""Sentry's SDK, with its integrations for httpx, redis, asyncio, threads, logging and Celery."""

from __future__ import annotations

import os
import sys

from typing import TYPE_CHECKING

import pytest

from taxizer_async.testing import Sandbox
from tests.integrations.python.running import ROOT
from tests.support import families
from tests.support.canaries import SECRET, canaries_of
from tests.support.server_process import environment_of


if TYPE_CHECKING:
    from pathlib import Path


CODE = (
    f"import sys; sys.path.append({ROOT!r}); "
    "from tests.integrations.neighbours.reported import main; main()"
)


@pytest.mark.invariant(20)
@pytest.mark.parametrize("store", ["file", "redis"])
def test_no_secret_is_reported(tmp_path: Path, redis_url: str, store: str) -> None:
    """No frame, breadcrumb, span, log or argument of a command that Sentry gets has a secret in it."""
    where = {"file": {"STORE_PATH": str(tmp_path / "t")}, "redis": {"REDIS_URL": redis_url}}
    with Sandbox(client_secret=SECRET) as sandbox:
        program = families.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, **environment_of(sandbox, **where[store])},
        )
        canaries = canaries_of(sandbox)

    assert program.returncode == 0, program.stderr
    kinds = [line.split(" ")[0] for line in program.stdout.splitlines()]
    assert kinds.count("REPORTED") == 13, program.stdout[-2000:]
    assert kinds.count("transaction") >= 5
    assert kinds.count("event") >= 13
    assert "ZeroDivisionError" in program.stdout
    assert '"mechanism":{"type":"celery"' in program.stdout
    assert ("EVAL" in program.stdout) == (store == "redis")
    seen = [line for line in program.stdout.splitlines() if any(each in line for each in canaries)]
    assert seen == []
