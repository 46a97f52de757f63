"""A fleet under load, in short; `python -m tests.fleet.load` runs it for longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.load import run_load


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox
    from tests.fleet.fleet import WorkerConfig


# A process of its own each: what trio does differently shows in tests of one process.
on_asyncio = pytest.mark.parametrize("config", ["file", "redis"], indirect=True)


@pytest.mark.slow
@on_asyncio
@pytest.mark.report(80)
@pytest.mark.report(81)
def test_a_fleet_renews_once_per_lifetime(sandbox: Sandbox, config: WorkerConfig) -> None:
    """Six processes, three lives of a token: one login, a renewal each, no request fails."""
    outcome = run_load(sandbox, config, seconds=10, kills=False, seed=1)

    assert outcome.problems == []
    assert outcome.counters.connects == 1
    assert outcome.counters.refreshes in (2, 3)
    assert outcome.requests > 500


@pytest.mark.slow
@on_asyncio
@pytest.mark.report(45)
def test_who_is_killed_harms_no_other(sandbox: Sandbox, config: WorkerConfig) -> None:
    """Workers are killed, some of them in a refresh: no refresh token is sent twice, none fails."""
    outcome = run_load(sandbox, config, seconds=12, kills=True, seed=2)

    assert outcome.problems == []
    assert outcome.mid_refresh >= 1
    assert outcome.kills > outcome.mid_refresh
