"""The command `sandbox`, as a process that is started, used and ended."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import signal
import subprocess
import sys

from collections.abc import Generator
from pathlib import Path
from typing import IO

import httpx
import pytest

from taxizer_async.testing import Sandbox
from tests.support.families import PATIENCE

from .conftest import Run, clean_environment, error_of


@contextlib.contextmanager
def serving(*args: str) -> Generator[tuple[subprocess.Popen[str], dict[str, str]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "taxizer_async", "sandbox", *args],
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            yield process, read_exports(process.stdout)
        finally:
            process.kill()


def read_exports(stdout: IO[str]) -> dict[str, str]:
    first = stdout.readline()
    exports = [stdout.readline().removeprefix("export ").rstrip("\n") for _ in range(3)]
    variables = dict(line.split("=", 1) for line in exports)
    assert variables["TAXIZER_BASE_URL"] in first
    return variables


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_on_a_signal(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the sandbox silently, with exit code 0."""
    with serving() as (process, _):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=PATIENCE)

        assert (process.returncode, stdout, stderr) == (0, "", "")


def test_exports_are_all_that_is_needed(run: Run) -> None:
    """With the printed variables set, the other commands work against the sandbox."""
    with serving() as (_, variables):
        done = run("whoami", **variables)

        assert done.returncode == 0
        assert "username: sandbox-user" in done.stdout


def test_options_reach_the_sandbox() -> None:
    """The options set the lifetimes and the clock offset of the sandbox."""
    now = dt.datetime.now(dt.UTC)
    options = ("--lifetime", "60", "--refresh-lifetime", "120", "--clock-offset", "86400")
    with serving(*options, "--latency", "0.01") as (_, variables):
        answer = httpx.post(
            f"{variables['TAXIZER_BASE_URL']}/v1/Auth/Connect",
            json={
                "clientId": variables["TAXIZER_CLIENT_ID"],
                "clientSecret": variables["TAXIZER_CLIENT_SECRET"],
            },
        ).json()

        ends = [
            dt.datetime.fromisoformat(answer[name]) - now - dt.timedelta(days=1)
            for name in ("jwtTokenExpireAtUTC", "refreshTokenExpireAtUTC")
        ]
        assert [round(end.total_seconds() / 60) for end in ends] == [1, 2]


@pytest.mark.parametrize(
    "option", ["--lifetime", "--refresh-lifetime", "--clock-offset", "--latency"]
)
@pytest.mark.parametrize("seconds", ["nan", "inf", "1e10"])
def test_seconds_beyond_the_calendar_are_refused(run: Run, option: str, seconds: str) -> None:
    """A time that no token and no Date can have is wrong usage, and no failure of each request."""
    assert option in error_of(run("sandbox", option, seconds))


def test_port_is_taken(run: Run, sandbox: Sandbox) -> None:
    """A port in use is one line on stderr, and exit code 2."""
    error = error_of(run("sandbox", "--port", str(sandbox.port)))

    assert error.startswith(f"error: port {sandbox.port} can't be used")


@pytest.mark.parametrize("command", ["node drive_sandbox.mjs", "sh drive_sandbox.sh"])
def test_other_languages_drive_it(command: str) -> None:
    """A test in Node.js, and one with curl in a shell, set faults and read counters and events."""
    program, script = command.split()
    if any(shutil.which(name) is None for name in {program, "curl"}):
        pytest.skip(f"needs {program} and curl")
    with serving() as (_, variables):
        done = subprocess.run(
            [program, Path(__file__).with_name(script)],
            env=clean_environment(variables),
            capture_output=True,
            timeout=PATIENCE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "statuses": [503, 200, 200, 401],
        "counts": [2, 1, 1],
        "offset": 60,
        "seen": ["fail", "login", "login", "request", "revoke", "unauthorized", "setting"],
    }


def test_faults_are_planned_by_options() -> None:
    """Each --fail plans a fault, for a place or for all, for some requests or for all."""
    options = ("connect=503:2", "connect=reset", "all=hang", "/v1/a=b:c=truncate:1")
    with serving(*(f"--fail={option}" for option in options)) as (_, variables):
        state = httpx.get(f"{variables['TAXIZER_BASE_URL']}/_sandbox/state").json()

    planned = [(each["where"], each["kind"], each["times"]) for each in state["faults"]]
    assert planned == [
        ("connect", "answer", 2),
        ("connect", "hang", None),
        ("refresh", "hang", None),
        ("resource", "hang", None),
        ("/v1/a=b:c", "truncate", 1),
    ]


@pytest.mark.parametrize(
    "option",
    ["503", "connect", "conect=503", "connect=99", "connect=sulk", "connect=503:0", "=503"],
)
def test_faults_that_are_none_are_refused(run: Run, option: str) -> None:
    """A --fail that is not understood is one line on stderr with an example, and exit code 2."""
    error = error_of(run("sandbox", "--fail", option))

    assert option in error
    assert "--fail connect=503:2" in error
