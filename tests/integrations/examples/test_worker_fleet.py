"""The fleet of workers runs: real processes, a real redis-server, real signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.integrations.examples.invoices import REFUSED, batch
from tests.support import families
from tests.support.redis_server import RedisServer
from tests.support.server_process import PATIENCE, Server, environment_of


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[3] / "examples"
PATH = "/v1/Invoices/GenerateInvoiceFromXml"
ALARMS = ("Traceback", "Warning", "ERROR", "never awaited", "destroyed", "sandbox-secret")


@pytest.fixture(name="environment")
def _environment(sandbox: Sandbox, tmp_path: Path) -> Iterator[dict[str, str]]:
    with RedisServer(tmp_path) as redis:
        yield environment_of(sandbox, REDIS_URL=redis.url)


@pytest.fixture(name="fleet")
def _fleet(environment: dict[str, str]) -> Iterator[Server]:
    """Start two workers; each logs in or waits for the other's login."""
    arguments = ("worker", "worker_fleet:broker", "--app-dir", str(EXAMPLES), "--workers", "2")
    with Server("-m", "taskiq", *arguments, environment=environment) as fleet:
        yield fleet


def enqueue(
    environment: dict[str, str], tmp_path: Path, count: int
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Have *count* invoices submitted by the program that is not a worker."""
    return families.running(
        [sys.executable, str(EXAMPLES / "worker_fleet.py"), str(batch(tmp_path, count))],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_fleet_submits_each_invoice_once_and_logs_in_once(
    sandbox: Sandbox, environment: dict[str, str], fleet: Server, tmp_path: Path
) -> None:
    """Two processes start at once, share one login and the work, and end at a signal."""
    sandbox.connect_latency = 0.5
    sandbox.resource_latency = 0.05
    with enqueue(environment, tmp_path, 200) as program:
        said, _ = program.communicate(timeout=PATIENCE)

    assert program.returncode == 0, said
    assert [line.split(": ")[1] for line in said.splitlines()] == ["accepted"] * 200
    sent = [json.loads(entry.body)["invoiceNumber"] for entry in sandbox.resource_log]
    assert sorted(sent) == sorted(f"INV-{n}" for n in range(200))
    assert sandbox.counters.connects == 1
    assert sandbox.counters.refreshes == 0
    for worker in ("worker-0", "worker-1"):
        assert f"[{worker}] Executing task submit" in fleet.said
    fleet.terminate()
    assert fleet.end() == 0
    assert not [alarm for alarm in ALARMS if alarm in fleet.said], fleet.said


def test_a_fleet_reports_what_was_not_accepted(
    sandbox: Sandbox, environment: dict[str, str], fleet: Server, tmp_path: Path
) -> None:
    """A refusal and silence are reported by line, and neither invoice is sent again."""
    sandbox.fail(PATH, Fault.status(200, body=json.dumps(REFUSED)), times=1)
    sandbox.fail(PATH, Fault.reset(), times=1)
    with enqueue(environment, tmp_path, 3) as program:
        said, _ = program.communicate(timeout=PATIENCE)

    assert program.returncode == 1
    told = sorted(line.split(": ", 1)[1] for line in said.splitlines())
    assert "it is unknown whether invoice" in told[0]
    assert told[1:] == ["accepted", "refused BR-KSA-13"]
    assert sandbox.counters.by_path[PATH] == 3
    assert "sandbox-secret" not in fleet.said


def test_a_fleet_finishes_what_is_under_way(
    sandbox: Sandbox, environment: dict[str, str], fleet: Server, tmp_path: Path
) -> None:
    """SIGTERM lets invoices that are being submitted come to their end."""
    with enqueue(environment, tmp_path, 4) as program:
        with sandbox.hold("resource") as gate:
            gate.wait_until(4, PATIENCE)
            fleet.terminate()
            fleet.wait_for("Stopped process", times=2)
            gate.release()
        said, _ = program.communicate(timeout=PATIENCE)

    assert [line.split(": ")[1] for line in said.splitlines()] == ["accepted"] * 4
    assert fleet.end() == 0
    assert not [alarm for alarm in ALARMS if alarm in fleet.said], fleet.said
