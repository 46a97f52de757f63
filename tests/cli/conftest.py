"""The program as a real process, and a sandbox for it to talk to."""

from __future__ import annotations

import os
import subprocess
import sys

from typing import TYPE_CHECKING, Final, Protocol

import pytest

from taxizer_async.testing import Sandbox


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


#: Seconds; a process that takes longer hangs.
PATIENCE: Final = 90.0

#: Variables of a terminal, a CI service or a user that no test may depend on.
_UNWANTED: Final = frozenset(
    {"CI", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
)


WITHOUT = """
import sys
import taxizer_async
missing = sys.argv.pop(1)
for loaded in [name for name in sys.modules if name.startswith(f"{missing}.")]:
    del sys.modules[loaded]
sys.modules[missing] = None
from taxizer_async.__main__ import main
sys.exit(main())
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


def run_without(
    module: str, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *args],
        env=clean_environment(env or {}),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox(client_secret="canary-of-the-client") as sandbox:
        yield sandbox


@pytest.fixture(name="account")
def _account(sandbox: Sandbox) -> dict[str, str]:
    return {
        "TAXIZER_BASE_URL": sandbox.base_url,
        "TAXIZER_CLIENT_ID": sandbox.client_id,
        "TAXIZER_CLIENT_SECRET": sandbox.credentials.client_secret.reveal(),
    }


@pytest.fixture(name="run")
def _run() -> Run:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "taxizer_async", *args],
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )

    return run
