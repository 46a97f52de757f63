"""A fleet under load, in short; `tests.fleet.campaign` runs it for longer."""

from __future__ import annotations

import attrs
import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.fleet import PATIENT, WorkerConfig
from tests.fleet.load import RENEWALS, TASKS, WORKERS, run_load


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Each worker is a process; trio's differences show in tests of one process.
on_asyncio = pytest.mark.parametrize("config", ["file", "redis"], indirect=True)


@on_asyncio
@pytest.mark.report(80, 81)
def test_a_fleet_renews_once_per_lifetime(sandbox: Sandbox, config: WorkerConfig) -> None:
    """Six processes, three lives of a token: one login, a renewal each, no request fails."""
    outcome = run_load(sandbox, _light(config), seconds=0, kills=False, seed=1)

    assert outcome.problems == []
    assert outcome.counters.connects == 1
    assert len(outcome.gaps) >= RENEWALS
    # Each coroutine had its turn in each life.
    assert outcome.requests > RENEWALS * WORKERS * TASKS


@on_asyncio
@pytest.mark.report(45)
def test_who_is_killed_harms_no_other(sandbox: Sandbox, config: WorkerConfig) -> None:
    """Workers are killed, some in a refresh: no refresh token is sent twice, and no request fails."""
    outcome = run_load(sandbox, _light(config), seconds=6, kills=True, seed=2)

    assert outcome.problems == []
    assert outcome.mid_refresh >= 1
    assert outcome.kills > outcome.mid_refresh


def _light(config: WorkerConfig) -> WorkerConfig:
    """Leave processors free, and replace tokens that expire while a late request is on its way."""
    return attrs.evolve(config, pause=0.1, policy=PATIENT | {"unauthorized_budget": 1_000})
