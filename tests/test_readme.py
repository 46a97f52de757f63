"""The README's code runs: against a sandbox instead of the documented host, and otherwise as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from taxizer_async import DEFAULT_BASE_URL
from taxizer_async.testing import Sandbox
from tests.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)

#: What a reader replaces by their own.
CLIENT_ID, CLIENT_SECRET = "your-client-id", "your-client-secret"
FOLDER, REDIS_URL = "/var/lib/my-service/tokens", "redis://redis.internal:6379/0"

#: What a web framework does with the block that has it.
FRAMEWORK = """
async def main() -> None:
    async with lifespan(None) as state:
        await state["taxizer"].post("/v1/Invoices/GenerateInvoice", json={})

anyio.run(main)
"""


@pytest.fixture(name="redis_server", scope="module")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_blocks_run(number: int, tmp_path: Path, redis_server: RedisServer) -> None:
    """Each block is a program that ends well, and uses the store that it names."""
    redis_server.ask("FLUSHALL")
    with Sandbox(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as sandbox:
        # What differs is where the API is, and the store.
        prelude = (
            "import taxizer_async, taxizer_async._auth as a, taxizer_async._client as c\n"
            f"for function in (a.TaxizerAuth.__init__, c.TaxizerClient.__init__):\n"
            f"    function.__kwdefaults__['base_url'] = {sandbox.base_url!r}\n"
        )
        code = BLOCKS[number].replace(DEFAULT_BASE_URL, sandbox.base_url)
        code = code.replace(FOLDER, str(tmp_path / "tokens")).replace(REDIS_URL, redis_server.url)
        if "def lifespan(" in code:
            code += FRAMEWORK
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
    assert (tmp_path / "tokens").exists() == (FOLDER in BLOCKS[number] and sent > 0)
    assert (b":1" in redis_server.ask("DBSIZE")) == (REDIS_URL in BLOCKS[number])


def test_there_are_blocks() -> None:
    """The pattern above finds every block of the README."""
    assert len(BLOCKS) == README.count("```python") >= 8


def test_the_extras_table_is_complete() -> None:
    """Each extra has its line in the README."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]

    assert sorted(extras) == sorted(
        re.findall(r"^\| `taxizer-async\[(\w+)\]`", README, re.MULTILINE)
    )


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
