"""The commands that need an account, and what all commands have in common."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import taxizer_async

from taxizer_async.testing import Fault, Sandbox
from tests.support.families import PATIENCE

from .conftest import (
    CLIENT_CANARY,
    Run,
    clean_environment,
    error_of,
    rows_of,
    run_impatiently,
    run_without,
    secrets_of,
)
from .demos import start_on_terminal


def test_version(run: Run) -> None:
    """`--version` prints the package's version."""
    done = run("--version")

    assert done.stdout == f"taxizer-async {taxizer_async.__version__}\n"
    assert done.returncode == 0


def test_no_command(run: Run) -> None:
    """Without a command the program prints its help and exits as for wrong usage."""
    done = run()

    assert done.returncode == 2
    for command in ("demo", "token", "whoami", "sandbox"):
        assert command in done.stdout


def test_token_prints_nothing_else(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """`token` prints the JWT with a newline on stdout, and nothing on stderr."""
    done = run("token", **account)

    assert (done.returncode, done.stderr) == (0, "")
    assert [done.stdout] == [f"{jwt}\n" for jwt in sandbox.issued_jwts]


def test_base_url_option_wins(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """`--base-url` has precedence over the environment."""
    account["TAXIZER_BASE_URL"] = "http://127.0.0.1:9"

    done = run("token", "--base-url", sandbox.base_url, **account)

    assert done.returncode == 0
    assert sandbox.counters.connects_ok == 1


def test_whoami_prints_lines(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """`whoami` prints `name: value` lines when stdout is not a terminal, and no secret."""
    done = run("whoami", **account)
    rows = rows_of(done)

    assert (done.returncode, done.stderr) == (0, "")
    assert rows.pop("expires_at").endswith("Z")
    assert 800 < float(rows.pop("expires_in").removesuffix(" s")) <= 900
    assert rows == {
        "app_name": "SandboxApp",
        "app_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "account_name": "SandboxAccount",
        "account_id": "acc12345",
        "username": "sandbox-user",
    }
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stdout]


@pytest.mark.parametrize("command", [["whoami"], ["store", "show"]])
def test_a_table_on_a_terminal(
    run: Run, sandbox: Sandbox, file_store: dict[str, str], command: list[str]
) -> None:
    """On a terminal the rows are drawn as a table, without a secret."""
    run("token", "--store", "file", **file_store)
    with start_on_terminal(*command, **file_store) as finish:
        ran = finish()
    drawn = ran.stdout

    assert ran.code == 0
    assert "│" in drawn
    assert "sandbox-user" in drawn
    assert not [secret for secret in secrets_of(sandbox) if secret in drawn]


def test_whoami_disarms_names(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """Control characters from a server never reach a terminal, and null is shown as unknown."""
    sandbox.fail("connect", Fault.edit(username="\x1b[2Jroot", appName=None))

    done = run("whoami", **account)

    assert "username: ?[2Jroot\n" in done.stdout
    assert "app_name: unknown\n" in done.stdout


@pytest.mark.parametrize("command", ["token", "whoami"])
def test_refused(run: Run, sandbox: Sandbox, account: dict[str, str], command: str) -> None:
    """Wrong credentials are one line on stderr without a secret, and exit code 1."""
    sandbox.change_secret("another")

    assert "rejected the credentials" in error_of(run(command, **account), 1)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.status(503), id="503"),
        pytest.param(Fault.reset(), id="reset"),
        pytest.param(Fault.junk(b'{"jwtToken": 1, "echo": "canary-of-the-client"}'), id="junk"),
        pytest.param(Fault.status(404, body=CLIENT_CANARY), id="404"),
    ],
)
def test_unavailable(sandbox: Sandbox, account: dict[str, str], fault: Fault) -> None:
    """A token endpoint that gives no token is one line on stderr without a secret, and exit code 3."""
    sandbox.fail("connect", fault)

    assert error_of(run_impatiently("token", env=account), 3)


def test_interrupt(sandbox: Sandbox, account: dict[str, str]) -> None:
    """Ctrl-C during a login ends the program silently, with the exit code of an interrupt."""
    with (
        sandbox.hold("connect") as gate,
        subprocess.Popen(
            [sys.executable, "-m", "taxizer_async", "token"],
            env=clean_environment(account),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A suite that runs in the background ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        ) as process,
    ):
        gate.wait_until(1, PATIENCE)
        process.send_signal(signal.SIGINT)

        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 130


@pytest.mark.parametrize(
    ("args", "env", "named"),
    [
        pytest.param(["token"], {}, "TAXIZER_CLIENT_ID", id="no-credentials"),
        pytest.param(
            ["token", "--base-url", "http://api.example.com"],
            {"TAXIZER_CLIENT_ID": "a", "TAXIZER_CLIENT_SECRET": CLIENT_CANARY},
            "https",
            id="http",
        ),
        pytest.param(["whoiam"], {}, "whoami", id="no-such-command"),
        pytest.param(["token", "--loud"], {}, "--loud", id="no-such-option"),
        pytest.param(["demo", "--requests", "5"], {}, "--requests", id="too-few"),
        pytest.param(["demo", "--backend", "curio"], {}, "--backend", id="no-such-backend"),
    ],
)
def test_wrong_usage(run: Run, args: list[str], env: dict[str, str], named: str) -> None:
    """Wrong usage or configuration is one line on stderr that names the culprit, and exit code 2."""
    assert named in error_of(run(*args, **env))


@pytest.mark.parametrize("module", ["typer", "rich", "platformdirs"])
def test_missing_extra(module: str) -> None:
    """Without its extra the program says in one line how to install it, and exits with 2."""
    error = error_of(run_without(module, "--version"))

    assert error == f'error: {module} is not installed: pip install "taxizer-async[cli]"\n'


def test_another_module_missing() -> None:
    """If a module is missing that is not the extra's, the extra is not blamed."""
    done = run_without("shlex", "--version")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "[cli]" not in done.stderr


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_missing_server(command: str) -> None:
    """Without uvicorn the commands that need it name the extra to install, and exit with 2."""
    assert 'pip install "taxizer-async[' in error_of(run_without("uvicorn.config", command))


def test_token_needs_no_server(account: dict[str, str]) -> None:
    """`token` does not load the sandbox's server."""
    done = run_without("uvicorn", "token", env=account)

    assert (done.returncode, done.stderr) == (0, "")


def test_missing_trio() -> None:
    """A backend that is not installed is a usage error that says how to get it."""
    assert "pip install trio" in error_of(run_without("trio", "demo", "--backend", "trio"))
