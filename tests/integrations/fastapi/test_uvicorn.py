"""Real servers: several workers, and ends with requests under way."""

from __future__ import annotations

import signal

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from taxizer_async.testing import Sandbox
from tests.support.server_process import PATIENCE, Server, attempts, environment_of


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SERVICE = "tests.integrations.fastapi.service:app"
UVICORN = ("-m", "uvicorn", SERVICE, "--app-dir", str(ROOT), "--port", "0")
WORKERS = 4
#: The parent of workers leaves its listening socket open.
UVICORNS_OWN = ("-W", "ignore:unclosed <socket:ResourceWarning")
#: Words that no output of a server may contain.
ALARMS = ("Traceback", "Warning", "ERROR", "WARNING", "sandbox-secret")


@pytest.fixture(name="start")
def _start(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(
            Server(
                *(UVICORNS_OWN if "--workers" in options else ()),
                *UVICORN,
                *options,
                environment=environment_of(sandbox, TAXIZER_STORE_PATH=str(tmp_path / "tokens")),
            )
        )
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def post(url: str) -> dict[str, int]:
    """Send a request over a new connection, so that any worker may get it."""
    answer: dict[str, int] = httpx.post(f"{url}/invoices", timeout=PATIENCE).json()
    return answer


def test_workers_share_one_login(start: Callable[..., Server], sandbox: Sandbox) -> None:
    """Four processes with a file store log in once, and all of their requests are accepted."""
    sandbox.connect_latency = 0.5
    server = start("--workers", str(WORKERS))
    server.wait_for("Application startup complete", times=WORKERS)
    answers: list[dict[str, int]] = []
    with ThreadPoolExecutor(20) as pool:
        for _ in attempts():
            answers += pool.map(post, [server.url] * 20)
            workers = {answer["worker"]: answer["logins"] for answer in answers}
            if len(workers) == WORKERS:
                break
    server.terminate()

    assert server.end() == 0
    assert {answer["status"] for answer in answers} == {200}
    assert sum(workers.values()) == 1
    assert sandbox.counters.connects == 1
    assert sandbox.counters.resources_ok == len(answers)
    assert not [alarm for alarm in ALARMS if alarm in server.said], server.said


@pytest.mark.parametrize(
    ("options", "code"),
    # A single process dies by the signal, once its work is done.
    [((), -signal.SIGTERM), (("--workers", "2"), 0)],
    ids=["alone", "workers"],
)
def test_requests_under_way_are_answered_when_it_ends(
    start: Callable[..., Server], sandbox: Sandbox, options: tuple[str, ...], code: int
) -> None:
    """After SIGTERM requests under way are answered, and all is closed without a complaint."""
    server = start(*options)
    server.wait_for("Application startup complete", times=2 if options else 1)
    with sandbox.hold("resource") as gate, ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(post, server.url) for _ in range(5)]
        for _ in attempts():
            if sandbox.counters.resources == len(answers):
                break
        server.terminate()
        server.wait_for("Waiting for connections to close")
        gate.release()
        statuses = [answer.result()["status"] for answer in answers]

    assert server.end() == code
    assert statuses == [200] * 5
    assert not [alarm for alarm in ALARMS if alarm in server.said], server.said


def test_a_request_during_a_login_is_answered_when_it_ends(
    start: Callable[..., Server], sandbox: Sandbox
) -> None:
    """The client is open, and able to log in, until the last request is done."""
    with sandbox.hold("connect") as gate, ThreadPoolExecutor(1) as pool:
        server = start("--log-level", "trace")
        server.wait_for("Application startup complete")
        answer = pool.submit(post, server.url)
        gate.wait_until(1, PATIENCE)
        # The login may be keep_fresh's; the trace shows that the request is under way.
        server.wait_for("Started scope={'type': 'http'")
        server.terminate()
        server.wait_for("Waiting for connections to close")
        gate.release()
        status = answer.result()["status"]

    assert server.end() == -signal.SIGTERM
    assert status == 200
    assert sandbox.counters.connects == 1
    assert not [alarm for alarm in ALARMS if alarm in server.said], server.said


def test_an_end_that_does_not_wait_closes_all(
    start: Callable[..., Server], sandbox: Sandbox
) -> None:
    """A server that cancels its requests ends in time, and so does the lifespan."""
    server = start("--timeout-graceful-shutdown", "1")
    server.wait_for("Application startup complete")
    with sandbox.hold("resource") as gate, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{server.url}/invoices", timeout=PATIENCE)
        gate.wait_until(1, PATIENCE)
        server.terminate()
        code = server.end()
        status = answer.result().status_code

    assert (code, status) == (-signal.SIGTERM, 500)
    assert "Application shutdown complete" in server.said
    assert "Warning" not in server.said, server.said
