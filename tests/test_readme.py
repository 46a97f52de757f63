"""The README's code runs: against a sandbox instead of the documented host, and otherwise as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from pathlib import Path

import pytest

from taxizer_async import DEFAULT_BASE_URL
from taxizer_async.testing import Sandbox


README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)

#: What a reader replaces by their own.
CLIENT_ID, CLIENT_SECRET = "your-client-id", "your-client-secret"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_blocks_run(number: int, tmp_path: Path) -> None:
    """Each block is a program that ends well."""
    with Sandbox(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as sandbox:
        # The one thing that differs is where the API is.
        prelude = (
            "import taxizer_async, taxizer_async._auth as a, taxizer_async._client as c\n"
            f"for function in (a.TaxizerAuth.__init__, c.TaxizerClient.__init__):\n"
            f"    function.__kwdefaults__['base_url'] = {sandbox.base_url!r}\n"
        )
        code = BLOCKS[number].replace(DEFAULT_BASE_URL, sandbox.base_url)
        program = tmp_path / "block.py"
        program.write_text(prelude + code, "utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", str(program)],
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
            env=os.environ
            | {
                "TAXIZER_CLIENT_ID": CLIENT_ID,
                "TAXIZER_CLIENT_SECRET": CLIENT_SECRET,
                "TAXIZER_BASE_URL": sandbox.base_url,
            },
        )
        sent = sandbox.counters.resources

    assert (done.returncode, done.stderr) == (0, "")
    assert sent > 0 or "client.post" not in code or "Sandbox(" in code


def test_there_are_blocks() -> None:
    """The pattern above finds every block of the README."""
    assert len(BLOCKS) == README.count("```python") >= 8


def test_the_errors_table_is_complete() -> None:
    """Each public error has its line in the README."""
    import taxizer_async  # noqa: PLC0415 - only its names are wanted

    errors = {
        name
        for name in taxizer_async.__all__
        if isinstance(getattr(taxizer_async, name), type)
        and issubclass(getattr(taxizer_async, name), taxizer_async.TaxizerError)
    }
    assert errors == set(re.findall(r"^\| `(\w+)`.*\|$", README, re.MULTILINE)) & errors
