"""What becomes of the output: streams that fail, JSON, help, completion and the log."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

from pathlib import Path

import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support import families
from tests.support.families import PATIENCE

from .conftest import Run, clean_environment, error_of, rows_of, run_python, secrets_of


COMMANDS = [
    ["whoami"],
    ["doctor"],
    ["doctor", "--json"],
    ["sandbox"],
    ["demo", "--requests", "20"],
    ["--help"],
]
FULL = Path("/dev/full")


def run_into(
    stdout: int, *args: str, stderr: int = subprocess.PIPE, env: dict[str, str]
) -> tuple[int, str]:
    """Run the program with *stdout*, and return its exit code and what it said on stderr."""
    with families.running(
        [sys.executable, "-m", "taxizer_async", *args],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said or ""


@pytest.mark.report(146)
@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_stdout(account: dict[str, str], command: list[str]) -> None:
    """A stdout that can't be written is one line on stderr, and exit code 4."""
    with FULL.open("wb") as full:
        code, said = run_into(full.fileno(), *command, env=account)

    assert (code, said) == (4, "error: stdout can't be written: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_stdout_in_ascii(account: dict[str, str]) -> None:
    """The same holds in an encoding that typer replaces."""
    with FULL.open("wb") as full:
        env = account | {"PYTHONIOENCODING": "ascii"}
        code, said = run_into(full.fileno(), "whoami", env=env)

    assert (code, said.count("\n")) == (4, 1)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["whoami"], ["whoiam"]], ids=" ".join)
def test_full_streams(account: dict[str, str], command: list[str]) -> None:
    """A stderr that can't be written changes no exit code."""
    with FULL.open("wb") as full:
        code, _ = run_into(full.fileno(), *command, stderr=full.fileno(), env=account)

    assert code == (4 if command == ["whoami"] else 2)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_pipe(account: dict[str, str], command: list[str]) -> None:
    """When the reader of a pipe has closed it, the program ends in silence, with exit code 4."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run_into(writing, *command, env=account) == (4, "")
    finally:
        os.close(writing)


def test_a_closed_stdout(account: dict[str, str]) -> None:
    """Without a stdout nothing is begun: one line on stderr, and exit code 4."""
    command = shlex.join([sys.executable, "-m", "taxizer_async", "token"])
    done = families.run(["/bin/sh", "-c", f"{command} >&-"], env=clean_environment(account))

    assert error_of(done, 4) == "error: stdout is closed\n"


def test_characters_that_stdout_lacks(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """What the encoding of stdout can't show is shown as an escape."""
    sandbox.fail("connect", Fault.edit(accountName="شركة"))

    done = run("whoami", **account, PYTHONIOENCODING="iso-8859-1")

    assert done.returncode == 0
    assert rows_of(done)["account_name"] == r"\u0634\u0631\u0643\u0629"


def test_whoami_as_json(run: Run, sandbox: Sandbox, account: dict[str, str]) -> None:
    """`whoami --json` prints an object; durations are numbers, and what is unknown is null."""
    sandbox.fail("connect", Fault.edit(username="\x1b[2Jroot", appName=None))

    done = run("whoami", "--json", **account)
    shown = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (0, "")
    assert 800 < shown.pop("expires_in") <= 900
    assert shown.pop("expires_at").endswith("Z")
    assert shown == {
        "app_name": None,
        "app_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "account_name": "SandboxAccount",
        "account_id": "acc12345",
        "username": "\x1b[2Jroot",
    }
    assert "\x1b" not in done.stdout
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stdout]


def test_store_show_as_json(run: Run, sandbox: Sandbox, file_store: dict[str, str]) -> None:
    """`store show --json` prints an object, also if no token is kept; the exit codes stay."""
    before = run("store", "show", "--json", **file_store)
    run("token", "--store", "file", **file_store)
    after = run("store", "show", "--json", **file_store)
    shown = json.loads(after.stdout)

    assert (before.returncode, json.loads(before.stdout)["token"]) == (1, "none")
    assert (after.returncode, shown["token"], shown["refresh_token"]) == (0, "fresh", "good")
    assert shown["age"] >= 0
    assert not [secret for secret in secrets_of(sandbox) if secret in after.stdout]


@pytest.mark.parametrize(
    ("level", "said"), [("info", ["INFO"]), ("DEBUG", ["INFO", "DEBUG"]), ("", [])]
)
def test_the_log(
    run: Run, sandbox: Sandbox, account: dict[str, str], level: str, said: list[str]
) -> None:
    """`TAXIZER_LOG` logs to stderr, without a secret; otherwise nothing is logged."""
    done = run("token", **account, TAXIZER_LOG=level)

    assert done.stdout == f"{sandbox.issued_jwts[0]}\n"
    assert re.findall(r"^\S+ \S+ (INFO|DEBUG) ", done.stderr, re.MULTILINE) == said
    assert len(done.stderr.splitlines()) == len(said)
    assert not [secret for secret in secrets_of(sandbox) if secret in done.stderr]


def test_no_such_log(run: Run, account: dict[str, str]) -> None:
    """Another value of `TAXIZER_LOG` is wrong usage."""
    assert "TAXIZER_LOG" in error_of(run("token", **account, TAXIZER_LOG="loud"))


@pytest.mark.parametrize("columns", [40, 120])
@pytest.mark.parametrize(
    "command", [[], ["doctor"], ["demo"], ["store", "show"], ["completion"]], ids=" ".join
)
def test_help_fits(run: Run, command: list[str], columns: int) -> None:
    """The help fits a narrow terminal and a wide one, and no name is cut off."""
    done = run(*command, "--help", COLUMNS=str(columns))
    narrow = columns == 40

    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= (40 if narrow else 100)
    assert "…" not in done.stdout
    explained = r"  --help\n      Show" if narrow else r"  --help +Show"
    assert re.search(rf"{explained} this message and exit\.$", done.stdout, re.MULTILINE)
    assert ("\n  --base-url URL" in done.stdout) == (command in (["doctor"], ["store", "show"]))


@pytest.mark.parametrize(
    ("line", "completed"), [("doc", ["doctor"]), ("store s", ["show"]), ("doctor --j", ["--json"])]
)
def test_bash_completes(tmp_path: Path, line: str, completed: list[str]) -> None:
    """Bash completes commands and options by the script that `completion bash` prints."""
    program = tmp_path / "taxizer-async"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m taxizer_async "$@"\n')
    program.chmod(0o700)
    words = shlex.join(["taxizer-async", *line.split()])
    script = f"""
eval "$(taxizer-async completion bash)"
complete -p taxizer-async | grep -q _taxizer_async_completion || exit 1
COMP_WORDS=({words}) COMP_CWORD={len(line.split())}
_taxizer_async_completion taxizer-async
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = families.run(["bash", "-c", script], env=clean_environment({"PATH": path}))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == completed


@pytest.mark.parametrize(
    ("shell", "asks"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "taxizer-async doc"}),
        (
            "fish",
            {
                "_TYPER_COMPLETE_ARGS": "taxizer-async doc",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
        ),
    ],
)
def test_other_shells_complete(run: Run, shell: str, asks: dict[str, str]) -> None:
    """The scripts of zsh and fish ask the program, which answers in their terms."""
    script = run("completion", shell)
    answer = run(**asks, _TAXIZER_ASYNC_COMPLETE=f"complete_{shell}")

    assert script.returncode == answer.returncode == 0
    assert f"_TAXIZER_ASYNC_COMPLETE=complete_{shell}" in script.stdout
    assert "doctor" in answer.stdout


def test_an_interrupt_while_it_loads() -> None:
    """Ctrl-C before the command has begun ends the program silently, with the exit code of an interrupt."""
    code = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from taxizer_async.__main__ import main
sys.exit(main())
"""
    done = run_python("-c", code, env={})

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
