"""Many processes start at once, with nothing in the store."""

from __future__ import annotations

import pytest

from taxizer_async.testing import Sandbox
from tests.fleet.fleet import Fleet, WorkerConfig


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.report(82)
def test_a_cold_fleet_logs_in_once(sandbox: Sandbox, config: WorkerConfig) -> None:
    """8 processes with 20 coroutines each: one login, and 160 answers after it."""
    sandbox.connect_latency = 1.0
    with Fleet(sandbox, config) as fleet:
        fleet.start(8)
        reports = fleet.ask_all("burst 20")

    assert [report.sent for report in reports] == [20] * 8
    assert [report.failures for report in reports] == [[]] * 8
    assert sandbox.counters.connects == 1
    assert sandbox.counters.refreshes == 0
    assert sum(report.logins for report in reports) == 1
    assert sum(report.adoptions for report in reports) == 7
