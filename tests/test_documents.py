"""The code in README and docs runs: against a sandbox instead of the documented host, else as it stands."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tomllib

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import taxizer_async

from taxizer_async import (
    DEFAULT_BASE_URL,
    AuthStatus,
    ExchangeFailed,
    TaxizerError,
    TokenRefused,
)
from taxizer_async._core.log_lines import HANDED_BACK, LINES, LOGIN_FAILED
from taxizer_async.testing import Sandbox
from tests.support.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {
    f"{document.relative_to(ROOT)}-{number}": block
    for document in DOCUMENTS
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
}

ERRORS = {
    name
    for name, value in vars(taxizer_async).items()
    if isinstance(value, type) and issubclass(value, TaxizerError)
}

#: Values that a reader replaces.
CLIENT_ID, CLIENT_SECRET = "your-client-id", "your-client-secret"
FOLDER, REDIS_URL = "/var/lib/my-service/tokens", "redis://redis.internal:6379/0"

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")

#: Code that replaces the last line of a block that serves.
SERVED = {
    "FastAPI(": """
from starlette.testclient import TestClient
with TestClient(app) as client:
    answer = client.post("/invoices", json={"number": "INV-1"})
    assert answer.json() == {"taxizer": 200}, answer.text
    assert client.get("/health/ready").json()["usable"]
""",
    "web.run_app(app)": """
    import asyncio
    from aiohttp.test_utils import TestClient, TestServer
    async def main() -> None:
        async with TestClient(TestServer(app)) as client:
            answer = await client.post("/invoices", json={"number": "INV-1"})
            assert await answer.json() == {"taxizer": 200}, await answer.text()
    asyncio.run(main())
""",
}


@pytest.fixture(name="redis_server", scope="module")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("name", BLOCKS)
def test_code_blocks_run(name: str, tmp_path: Path, redis_server: RedisServer) -> None:
    """Each block is a program that ends well, and uses the store that it names."""
    redis_server.ask("FLUSHALL")
    with Sandbox(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as sandbox:
        # What differs is where the API is, and the store.
        prelude = (
            "import taxizer_async\n"
            "from taxizer_async._auth import options\n"
            f"options.DEFAULT_BASE_URL = {sandbox.base_url!r}\n"
            "defaults = taxizer_async.TaxizerAuth.__init__.__kwdefaults__\n"
            "defaults['base_url'] = options.DEFAULT_BASE_URL\n"
        )
        code = BLOCKS[name].replace(DEFAULT_BASE_URL, sandbox.base_url)
        code = code.replace("start_http_server(9464)", "start_http_server(0)")
        code = code.replace(FOLDER, str(tmp_path / "tokens")).replace(REDIS_URL, redis_server.url)
        for host, use in SERVED.items():
            if host in code:
                code = code.removesuffix(f"    {host}\n") + use
        program = tmp_path / "test_block.py"
        program.write_text(prelude + code, "utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", *(PYTEST if "def test_" in code else ()), str(program)],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
            env=os.environ
            | {
                "TAXIZER_CLIENT_ID": CLIENT_ID,
                "TAXIZER_CLIENT_SECRET": CLIENT_SECRET,
                "TAXIZER_BASE_URL": sandbox.base_url,
            },
        )
        sent = sandbox.counters.resources

    assert (done.returncode, done.stderr) == (0, "")
    # A test has a sandbox, or a stub, of its own.
    is_alone = "Sandbox(" in code or "def test_" in code
    assert sent > 0 or is_alone or not re.search(r"(client|session)\.post", code)
    assert (tmp_path / "tokens").exists() == (FOLDER in BLOCKS[name] and sent > 0)
    assert (b":1" in redis_server.ask("DBSIZE")) == (REDIS_URL in BLOCKS[name])


def test_there_are_blocks() -> None:
    """The pattern above finds every block."""
    text = "".join(document.read_text("utf-8") for document in DOCUMENTS)

    assert len(BLOCKS) == text.count("```python") >= 16


def test_the_extras_table_is_complete() -> None:
    """Each extra has its line in the README."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]

    assert sorted(extras) == sorted(
        re.findall(r"^\| `taxizer-async\[(\w+)\]`", README, re.MULTILINE)
    )


def test_the_errors_table_is_complete() -> None:
    """Each public error has its line in the README."""
    assert set(re.findall(r"^\| `(\w+)`.*\|$", README, re.MULTILINE)) >= ERRORS


OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


LOG_LINES = (ROOT / "docs" / "reference" / "log-lines.md").read_text("utf-8")


def test_each_log_line_is_explained() -> None:
    """The page of log lines has the beginning, the level and the event of each line."""
    told = re.findall(r"^\| `(.+?)` \| (\w+) \| `(\w+)` \|", LOG_LINES, re.MULTILINE)
    lines = [*LINES.items(), (ExchangeFailed, LOGIN_FAILED), (TokenRefused, HANDED_BACK)]

    assert sorted(told) == sorted(
        (line.beginning.strip(), logging.getLevelName(line.level), kind.__name__)
        for kind, line in lines
    )


def test_each_field_of_a_log_record_is_listed() -> None:
    """The page of log lines has the fields of each event, under the names that a record has."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*)\|$", LOG_LINES, re.MULTILINE)
    told = {
        kind: re.findall(r"`(\w+)`", fields)
        for kinds, fields in rows
        for kind in re.findall(r"`(\w+)`", kinds)
    }

    for kind in LINES:
        fields = [f"taxizer_{field.name}" for field in attrs.fields(kind)]
        assert told[kind.__name__] == fields


def test_each_other_log_line_is_explained() -> None:
    """The page of log lines has the beginning of every other text that the package logs."""
    calls = re.compile(r"(?:LOG|_log)\.(?:debug|info|warning|error)\(\s*\"(.*?)[(:%\"]")
    sources = (ROOT / "taxizer_async").rglob("*.py")
    texts = [text for path in sources for text in calls.findall(path.read_text("utf-8")) if text]

    assert len(texts) >= 3
    assert [text for text in texts if f"| `{text.strip()}" not in LOG_LINES] == []


def test_the_runbook_is_found_by_the_log_line() -> None:
    """The runbook has the beginning of each line that an operator should act on."""
    runbook = OPERATIONS.split("\n## Runbook\n")[1]
    urgent = [
        line.beginning.strip()
        for line in (*LINES.values(), LOGIN_FAILED)
        if line.level >= logging.WARNING
    ]

    assert [each for each in urgent if each not in runbook and "no token sent" not in each] == []


def test_each_field_of_the_status_is_explained() -> None:
    """Each field of `status()` is in the documentation."""
    health = OPERATIONS.split("\n## ")[1]

    assert {field.name for field in attrs.fields(AuthStatus)} == {
        name
        for cell in re.findall(r"^\| (`.*?`) \|", health, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }


def test_each_error_has_an_entry_in_the_runbook() -> None:
    """The runbook has an entry for each error."""
    entries = re.findall(r"^### (\w+Error)$", OPERATIONS, re.MULTILINE)

    assert set(entries) == ERRORS - {"TaxizerError"}


def test_each_guarantee_names_tests_that_exist() -> None:
    """Each row of the table of guarantees names a test, and each of these is in its file."""
    table = re.search(r"^\| what happens .*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert table is not None
    _, _, *rows = table[0].strip().splitlines()
    named = [re.findall(r"`([\w/]+\.py)::(test_\w+)`", row) for row in rows]

    assert len(rows) > 10
    assert all(named), rows
    for path, test in {each for row in named for each in row}:
        text = (ROOT / "tests" / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{path}::{test}"


def test_the_speed_in_the_readme_was_measured() -> None:
    """The README quotes the figures of the last run."""
    results = (ROOT / "benchmarks" / "results.md").read_text("utf-8")
    _, summary, _ = re.split(r"^<!-- .* -->$", results, flags=re.MULTILINE)

    assert summary.strip() in README
    assert "MISSED" not in results
