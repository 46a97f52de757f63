"""gunicorn with uvicorn's workers: before and after the fork, a reload, and an end in the middle of a renewal."""

from __future__ import annotations

import contextlib
import re
import signal

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integrations.python.running import ROOT
from tests.support.server_process import PATIENCE, Server, attempts, environment_of


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from taxizer_async.testing import Sandbox


WORKERS = 3
GUNICORN = (
    # Its own threads, which it forks with; and its sockets.
    *("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning", "-m", "gunicorn"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--workers", str(WORKERS)),
    *("--bind", "127.0.0.1:0", "--pythonpath", ROOT, "--no-control-socket"),
)
SERVICE = "tests.integrations.neighbours.service:app"
#: Words that no output may contain.
ALARMS = ("Traceback", "Warning", "ERROR", "WARNING", "sandbox-secret")


@pytest.fixture(name="start")
def _start(sandbox: Sandbox, tmp_path: Path, redis_url: str) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*options: str, store: str = "file", **settings: str) -> Server:
        where = (
            {"REDIS_URL": redis_url} if store == "redis" else {"STORE_PATH": str(tmp_path / "t")}
        )
        environment = environment_of(sandbox, **where, **settings)
        servers.append(Server(*GUNICORN, *options, SERVICE, environment=environment))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def url_of(server: Server) -> str:
    """Return where it serves, once all workers do."""
    server.wait_for("Application startup complete", times=WORKERS)
    found = re.search(r"Listening at: (http://\S+)", server.said)
    assert found
    return found[1]


def post(url: str) -> dict[str, int]:
    """Send a request over a new connection, so that any worker may get it."""
    for _ in attempts():
        # A worker that ends closes connections that it has accepted and not read.
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            answer: dict[str, int] = httpx.post(f"{url}/invoices", timeout=PATIENCE).json()
            return answer
    raise TimeoutError


def ask_all(pool: ThreadPoolExecutor, url: str) -> set[int]:
    """Send requests until each worker has sent one; return the workers."""
    workers: set[int] = set()
    for _ in attempts():
        answers = list(pool.map(post, [url] * 10))
        assert {answer["status"] for answer in answers} == {200}
        workers |= {answer["worker"] for answer in answers}
        if len(workers) == WORKERS:
            break
    return workers


@pytest.mark.parametrize(
    ("options", "store", "settings"),
    [
        ((), "file", {}),
        (("--preload",), "file", {}),
        (("--preload",), "redis", {}),
        (("--preload",), "redis", {"WARM": "yes"}),
    ],
    ids=["after the fork", "before it", "before it, Redis", "before it with a token, Redis"],
)
def test_a_services_life(
    start: Callable[..., Server],
    sandbox: Sandbox,
    options: tuple[str, ...],
    store: str,
    settings: dict[str, str],
) -> None:
    """Workers share a login and each renewal; a reload or an end during one costs nothing more, and no request."""
    sandbox.connect_latency = 0.3
    server = start(*options, store=store, **settings)
    url = url_of(server)
    with ThreadPoolExecutor(10) as pool:
        before = ask_all(pool, url)
        assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)

        with sandbox.hold("refresh") as gate:
            sandbox.revoke()
            answers = [pool.submit(post, url) for _ in range(10)]
            gate.wait_until(1, PATIENCE)
            server.send(signal.SIGHUP)
            server.wait_for("Application startup complete", times=2 * WORKERS)
        assert {answer.result()["status"] for answer in answers} == {200}
        for pid in before:
            server.wait_for(f"Finished server process [{pid}]")
        assert ask_all(pool, url).isdisjoint(before)
        assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)

        with sandbox.hold("refresh") as gate:
            sandbox.revoke()
            answers = [pool.submit(post, url)]
            gate.wait_until(1, PATIENCE)
            server.terminate()
            server.wait_for("Waiting for connections to close")
        assert answers[0].result()["status"] == 200
    assert server.end() == 0
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 2)
    assert not [alarm for alarm in ALARMS if alarm in server.said], server.said
