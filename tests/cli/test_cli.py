"""The commands that need an account, and what all commands have in common."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import taxizer_async

from taxizer_async.testing import Fault, Sandbox

from .conftest import PATIENCE, Run, clean_environment, run_without
from .demos import start_on_terminal


CANARY = "canary-of-the-client"


def secrets_of(sandbox: Sandbox) -> list[str]:
    return [CANARY, *sandbox.issued_jwts, *sandbox.issued_refresh_tokens]


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
    """`whoami` prints `key: value` lines when stdout is no terminal, without a secret."""
    done = run("whoami", **account)
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())

    assert (done.returncode, done.stderr) == (0, "")
    assert told.pop("expires_at").endswith("Z")
    assert 800 < float(told.pop("expires_in").removesuffix(" s")) <= 900
    assert told == {
        "app_name": "SandboxApp",
        "app_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "account_name": "SandboxAccount",
        "account_id": "acc12345",
        "username": "sandbox-user",
    }
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stdout]


def test_whoami_draws_a_table(sandbox: Sandbox, account: dict[str, str]) -> None:
    """`whoami` draws a table on a terminal, without a secret."""
    with start_on_terminal("whoami", **account) as finish:
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

    done = run(command, **account)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "rejected the credentials" in done.stderr
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.status(503), id="503"),
        pytest.param(Fault.reset(), id="reset"),
        pytest.param(Fault.junk(b'{"jwtToken": 1, "echo": "canary-of-the-client"}'), id="junk"),
        pytest.param(Fault.status(404, body=CANARY), id="404"),
    ],
)
def test_unavailable(run: Run, sandbox: Sandbox, account: dict[str, str], fault: Fault) -> None:
    """A token endpoint that gives no token is one line on stderr without a secret, and exit code 3."""
    sandbox.fail("connect", fault)

    done = run("token", **account)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr


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
            {"TAXIZER_CLIENT_ID": "a", "TAXIZER_CLIENT_SECRET": CANARY},
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
    done = run(*args, **env)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr


@pytest.mark.parametrize("module", ["typer", "rich", "platformdirs"])
def test_missing_extra(module: str) -> None:
    """Without its extra the program says in one line how to install it, and exits with 2."""
    done = run_without(module, "--version")

    assert done.returncode == 2
    assert done.stderr == f'error: {module} is not installed: pip install "taxizer-async[cli]"\n'


def test_another_module_missing() -> None:
    """A missing module that is not the extra's is not blamed on the extra."""
    done = run_without("shlex", "--version")

    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "[cli]" not in done.stderr


@pytest.mark.parametrize("command", ["sandbox", "demo"])
def test_missing_server(command: str) -> None:
    """Without uvicorn the commands that need it name the extra to install, and exit with 2."""
    done = run_without("uvicorn.config", command)

    assert done.returncode == 2
    assert 'pip install "taxizer-async[' in done.stderr
    assert done.stderr.count("\n") == 1


def test_token_needs_no_server(account: dict[str, str]) -> None:
    """`token` does not load the sandbox's server."""
    done = run_without("uvicorn", "token", env=account)

    assert (done.returncode, done.stderr) == (0, "")


def test_missing_trio() -> None:
    """A backend that is not installed is a usage error that says how to get it."""
    done = run_without("trio", "demo", "--backend", "trio")

    assert done.returncode == 2
    assert "pip install trio" in done.stderr
    assert done.stderr.count("\n") == 1
