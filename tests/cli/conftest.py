"""The program as a real process, and a sandbox for it to talk to."""

from __future__ import annotations

import os
import subprocess
import sys

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import pytest

from taxizer_async.testing import Sandbox
from tests.support.families import PATIENCE


#: Each secret has this in it.
CANARY: Final = "canary"
CLIENT_CANARY: Final = f"{CANARY}-of-the-client"
REDIS_CANARY: Final = f"{CANARY}-of-redis"

#: Variables of a terminal, a CI service or a user that no test may depend on.
_UNWANTED: Final = frozenset(
    {"CI", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
)

#: Runs the program as if a module were not installed.
WITHOUT: Final = """
import sys
import taxizer_async
missing = sys.argv.pop(1)
for loaded in [name for name in sys.modules if name.startswith(f"{missing}.")]:
    del sys.modules[loaded]
sys.modules[missing] = None
from taxizer_async.__main__ import main
sys.exit(main())
"""

#: Runs the program with logins that give up after a second.
IMPATIENT: Final = """
import functools, sys
from taxizer_async import RenewalPolicy
from taxizer_async._cli import app
policy = RenewalPolicy(exchange_timeout=1.0)
app.TaxizerAuth = functools.partial(app.TaxizerAuth, policy=policy)
sys.exit(app.run())
"""


class Run(Protocol):
    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]: ...


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _UNWANTED
        and not name.startswith("TAXIZER_")
        and not name.lower().endswith("_proxy")
    }
    return {**kept, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **env}


def run_python(*args: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *args],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


def run_impatiently(*args: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return run_python("-c", IMPATIENT, *args, env=env)


def run_without(
    module: str, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return run_python("-c", WITHOUT, module, *args, env=env or {})


def error_of(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """Return the error of *done*: one line on stderr without a secret, and exit code *code*."""
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr
    return done.stderr


def rows_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the `name: value` lines of *done*."""
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def secrets_of(sandbox: Sandbox) -> list[str]:
    return [CANARY, *sandbox.issued_jwts, *sandbox.issued_refresh_tokens]


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox(client_secret=CLIENT_CANARY) as sandbox:
        yield sandbox


@pytest.fixture(name="account")
def _account(sandbox: Sandbox) -> dict[str, str]:
    return {
        "TAXIZER_BASE_URL": sandbox.base_url,
        "TAXIZER_CLIENT_ID": sandbox.client_id,
        "TAXIZER_CLIENT_SECRET": sandbox.credentials.client_secret.reveal(),
    }


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens"


@pytest.fixture(name="file_store")
def _file_store(account: dict[str, str], folder: Path) -> dict[str, str]:
    return account | {"TAXIZER_STORE_PATH": str(folder)}


@pytest.fixture(name="run")
def _run() -> Run:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "taxizer_async", *args, env=env)

    return run
