"""A real Celery worker over a real Redis: its processes share one login, and each makes one client."""

from __future__ import annotations

import pytest

from benchmarks.bench import QUICK
from benchmarks.scenarios import celery


@pytest.mark.slow
@pytest.mark.invariant(3)
def test_the_tasks_of_four_processes_log_in_once_and_load_one_ca_bundle_each() -> None:
    """Prefork with 4 processes: one login in all, and no CA bundle is read after a process's first task."""
    section = celery.run(QUICK)

    assert [(claim.text, claim.value) for claim in section.claims] == [
        ("logins of a Celery worker", 1),
        ("CA bundles read after the first task of a process", 0),
    ]
    assert section.tables[0].caption == "100 tasks of each kind in 4 processes"
