"""A real Celery worker over a real Redis: its processes, or threads, share one login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery import Celery

from benchmarks.bench import QUICK
from benchmarks.scenarios import celery
from benchmarks.service import WorkerProcess
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer
from tests.support.server_process import environment_of


if TYPE_CHECKING:
    from pathlib import Path

    from taxizer_async.testing import Sandbox


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


@pytest.mark.slow
@pytest.mark.invariant(3)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_tasks_of_a_pool_share_each_renewal(
    sandbox: Sandbox, tmp_path: Path, pool: str
) -> None:
    """A revocation in the middle costs one renewal and no task, with processes as with threads."""
    sandbox.connect_latency = 0.3
    with (
        RedisServer(tmp_path) as redis,
        Celery(broker=redis.url, backend=redis.url, set_as_current=False) as app,
        WorkerProcess(
            environment_of(sandbox, REDIS_URL=redis.url, POOL=pool), "benchmarks.celery_app"
        ),
    ):
        for _ in range(2):
            waiting = [app.send_task("send", [None]) for _ in range(50)]
            done = [each.get(timeout=PATIENCE) for each in waiting]
            sandbox.revoke()

    assert len({each["process"] for each in done}) == (4 if pool == "prefork" else 1)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
