"""The examples run, as processes and over HTTP, against a sandbox."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.integrations.examples.invoices import REFUSED, WARNED, batch
from tests.support import families
from tests.support.server_process import PATIENCE, Server, attempts, environment_of


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[3] / "examples"
PATH = "/v1/Invoices/GenerateInvoiceFromXml"
INVOICE = {
    "uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d",
    "deviceId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "invoiceNumber": "INV-1",
    "signedXmlInvoice": base64.b64encode(b"<Invoice/>").decode(),
}
#: The exit code on SIGTERM: uvicorn dies by it when all is done, aiohttp does not.
SERVICES = {"fastapi_service.py": -signal.SIGTERM, "aiohttp_service.py": 0}
ALARMS = ("Traceback", "Warning", "ERROR", "sandbox-secret")


@pytest.fixture(name="program", params=SERVICES)
def _program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="service")
def _service(program: str, sandbox: Sandbox, tmp_path: Path) -> Iterator[Server]:
    with serve(program, sandbox, tmp_path) as service:
        yield service


def serve(program: str, sandbox: Sandbox, tmp_path: Path) -> Server:
    """Start *program* on a free port, with a store."""
    environment = environment_of(sandbox, TAXIZER_STORE_PATH=str(tmp_path / "tokens"), PORT="0")
    return Server(str(EXAMPLES / program), environment=environment)


def submit(service: Server) -> httpx.Response:
    """Submit an invoice through *service*."""
    return httpx.post(f"{service.url}/invoices", json=INVOICE, timeout=PATIENCE)


def readiness(service: Server) -> httpx.Response:
    return httpx.get(f"{service.url}/health/ready", timeout=PATIENCE)


def test_a_service_submits_invoices(service: Server, sandbox: Sandbox, tmp_path: Path) -> None:
    """Taxizer's verdict comes back, after one login, which is kept in the store."""
    answers = [submit(service) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json() == {"status": "accepted", "codes": []}
    assert json.loads(sandbox.resource_log[0].body) == INVOICE
    assert sandbox.counters.by_path[PATH] == 3
    assert sandbox.counters.connects == 1
    assert list((tmp_path / "tokens").iterdir())
    assert readiness(service).json()["state"] == "fresh"


def test_processes_of_a_service_share_one_login(
    program: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Four processes with one file store log in once, and end cleanly with requests under way."""
    sandbox.connect_latency = 0.5
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(serve(program, sandbox, tmp_path)) for _ in range(4)]
        urls = [service.url for service in services]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(submit, services * 5))
            with sandbox.hold("resource") as gate:
                under_way = [pool.submit(submit, service) for service in services]
                gate.wait_until(len(under_way), PATIENCE)
                for service in services:
                    service.terminate()
                gate.release()
            answers += [answer.result() for answer in under_way]
        codes = [service.end() for service in services]

    assert len(set(urls)) == 4
    assert {answer.status_code for answer in answers} == {200}
    assert sandbox.counters.connects == 1
    assert codes == [SERVICES[program]] * 4
    assert not [service.said for service in services for alarm in ALARMS if alarm in service.said]


def test_a_service_reports_a_refusal_and_does_not_send_again(
    service: Server, sandbox: Sandbox
) -> None:
    """A refusal is a 422, though it came with 200; no verdict is a 502; each invoice is sent once."""
    sandbox.fail(PATH, Fault.status(200, body=json.dumps(REFUSED)), times=1)
    sandbox.fail(PATH, Fault.status(500), times=1)
    sandbox.fail(PATH, Fault.reset(), times=1)
    answers = [submit(service) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [422, 502, 502]
    assert answers[0].json() == {"status": "refused", "codes": ["BR-KSA-13"]}
    assert "HTTP 500" in answers[1].text
    assert sandbox.counters.by_path[PATH] == 3


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.status(503), 503), (Fault.status(400), 502)], ids=["503", "400"]
)
def test_a_service_lives_on_while_there_is_no_token(
    program: str, sandbox: Sandbox, tmp_path: Path, fault: Fault, status: int
) -> None:
    """Its clients get the kind of failure, and the liveness probe stays well."""
    sandbox.fail("connect", fault)
    with serve(program, sandbox, tmp_path) as service:
        answer = submit(service)
        told = readiness(service)
        live = httpx.get(f"{service.url}/health/live", timeout=PATIENCE)

    assert answer.status_code == status
    assert (told.status_code, told.json()["ready"]) == (503, False)
    assert live.status_code == 200
    assert "sandbox" not in answer.text
    assert not [alarm for alarm in ALARMS if alarm in service.said], service.said


def test_a_service_answers_what_is_under_way_when_it_ends(
    service: Server, sandbox: Sandbox, program: str
) -> None:
    """After SIGTERM requests under way are answered, and nothing is complained of."""
    url = service.url
    with sandbox.hold("resource") as gate, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(submit, service) for _ in range(3)]
        gate.wait_until(len(answers), PATIENCE)
        service.terminate()
        for _ in attempts():
            try:
                httpx.get(f"{url}/health/live", timeout=PATIENCE)
            except httpx.TransportError:
                break
        gate.release()
        statuses = [answer.result().status_code for answer in answers]

    assert statuses == [200] * 3
    assert service.end() == SERVICES[program]
    assert not [alarm for alarm in ALARMS if alarm in service.said], service.said


def test_a_service_without_credentials_does_not_start(program: str) -> None:
    """It says what is missing."""
    with Server(str(EXAMPLES / program), environment={"PORT": "0"}) as service:
        assert service.end() != 0
        assert "TAXIZER_CLIENT_ID is not set" in service.said


def run_script(sandbox: Sandbox, tmp_path: Path, count: int) -> subprocess.CompletedProcess[str]:
    return families.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "script.py"), str(batch(tmp_path, count))],
        env=os.environ | environment_of(sandbox),
    )


def test_the_script_submits_a_batch(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each invoice is submitted once, all over one login, and each has its line."""
    done = run_script(sandbox, tmp_path, 50)

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"line {n}: accepted" for n in range(1, 51))
    assert sorted(
        json.loads(entry.body)["invoiceNumber"] for entry in sandbox.resource_log
    ) == sorted(f"INV-{n}" for n in range(50))
    assert sandbox.counters.connects == 1


def test_the_script_sends_ten_at_a_time(sandbox: Sandbox, tmp_path: Path) -> None:
    """While ten requests are under way, no eleventh arrives."""
    with sandbox.hold("resource") as gate, ThreadPoolExecutor(1) as pool:
        done = pool.submit(run_script, sandbox, tmp_path, 30)
        gate.wait_until(10, PATIENCE)
        with pytest.raises(TimeoutError):
            gate.wait_until(11, 0.5)
        gate.release()

    assert done.result().returncode == 0
    assert sandbox.counters.resources_ok == 30


def test_the_script_calls_no_refused_invoice_accepted(sandbox: Sandbox, tmp_path: Path) -> None:
    """A refusal with status 200, one with a warning, and silence are told apart, and the rest goes on."""
    for body in REFUSED, WARNED:
        sandbox.fail("resource", Fault.status(200, body=json.dumps(body)), times=1)
    sandbox.fail("resource", Fault.reset(), times=1)
    done = run_script(sandbox, tmp_path, 20)

    assert (done.returncode, done.stderr) == (1, "")
    told = [line.split(": ", 1)[1] for line in done.stdout.splitlines()]
    assert told.count("accepted") == 17
    assert told.count("refused BR-KSA-13") == 1
    assert told.count("accepted_with_warnings BR-KSA-98") == 1
    assert sum("it is unknown whether invoice" in each for each in told) == 1
    assert sandbox.counters.resources == 20


def test_the_script_reports_a_refused_login(sandbox: Sandbox, tmp_path: Path) -> None:
    """One login is tried for the whole batch, and no line shows the secret."""
    sandbox.fail("connect", Fault.status(400))
    done = run_script(sandbox, tmp_path, 20)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("not sent: ") == 20
    assert "sandbox-secret" not in done.stdout
    assert sandbox.counters.connects == 1
    assert sandbox.counters.resources == 0
