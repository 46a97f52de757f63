"""Auth and store are made before the workers are forked."""

from __future__ import annotations

import json
import sys

from pathlib import Path

import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.fleet import WorkerConfig
from tests.support import families


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("warm", [False, True])
def test_a_preloaded_application_logs_in_once(
    sandbox: Sandbox, config: WorkerConfig, warm: bool
) -> None:
    """Four children share one login, without the parent's connections and locks."""
    content = {
        "store": config.store,
        "backend": config.backend,
        "warm": warm,
        "base_url": sandbox.base_url,
        "client_id": sandbox.credentials.client_id,
        "client_secret": sandbox.credentials.client_secret.reveal(),
    }
    program = Path(__file__).with_name("preloaded.py")
    done = families.run(
        # Python 3.12 warns of a fork with threads, and anyio's idle worker threads remain for a while.
        [sys.executable, "-W", "ignore::DeprecationWarning", str(program), json.dumps(content)]
    )

    assert done.returncode == 0, done.stderr
    assert sandbox.counters.connects == 1
    assert sandbox.counters.refreshes == 0
    assert sandbox.counters.resources_ok == 20 + warm
