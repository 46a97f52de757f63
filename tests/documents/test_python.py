"""The Python in the documentation runs: against a sandbox instead of the documented host, else as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trustme

from taxizer_async import DEFAULT_BASE_URL
from taxizer_async.testing import Sandbox
from tests.documents.pages import BLOCKS, NAMES, text_of
from tests.support.redis_server import RedisServer


#: A block with a title is a file, which a command of its page runs.
PROGRAMS: Final = {
    name: block.code
    for name, block in BLOCKS.items()
    if block.language == "python" and block.title is None
}

#: Values that a reader replaces.
CLIENT_ID, CLIENT_SECRET = "your-client-id", "your-client-secret"
FOLDER, REDIS_URL = "/var/lib/my-service/tokens", "redis://redis.internal:6379/0"

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")

_INVOICE = """{
    "uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d",
    "device_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "invoice_number": "INV-1",
    "signed_xml": "PEludm9pY2UvPg==",
}"""
_BODY = """{
    "uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d",
    "deviceId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "invoiceNumber": "INV-1",
    "signedXmlInvoice": "PEludm9pY2UvPg==",
}"""

#: Code that replaces the last line of a block that serves.
SERVED = {
    "include_router(health_router())": f"""
from starlette.testclient import TestClient
with TestClient(app) as client:
    answer = client.post("/invoices", json={_INVOICE})
    assert answer.json() == {{"status": "accepted"}}, answer.text
    assert client.get("/health/ready").json()["usable"]
""",
    "web.run_app(app)": f"""
    import asyncio
    from aiohttp.test_utils import TestClient, TestServer
    async def main() -> None:
        async with TestClient(TestServer(app)) as client:
            answer = await client.post("/invoices", json={_BODY})
            assert (await answer.json())["status"] == "completed", await answer.text()
    asyncio.run(main())
""",
}


@pytest.fixture(name="redis_server", scope="module")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("name", PROGRAMS)
def test_code_blocks_run(name: str, tmp_path: Path, redis_server: RedisServer) -> None:
    """Each block is a program that ends well, and uses the store that it names."""
    redis_server.ask("FLUSHALL")
    (tmp_path / "invoice.xml").write_text("<Invoice/>", "utf-8")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "company-ca.pem"))
    with Sandbox(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as sandbox:
        # What differs is where the API is, and the store.
        prelude = (
            "import taxizer_async\n"
            "from taxizer_async._auth import options\n"
            f"options.DEFAULT_BASE_URL = {sandbox.base_url!r}\n"
            "defaults = taxizer_async.TaxizerAuth.__init__.__kwdefaults__\n"
            "defaults['base_url'] = options.DEFAULT_BASE_URL\n"
        )
        code = PROGRAMS[name].replace(DEFAULT_BASE_URL, sandbox.base_url)
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
        counters = sandbox.counters

    assert (done.returncode, done.stderr) == (0, "")
    # A test has a sandbox, or a stub, of its own.
    is_alone = "Sandbox(" in code or "def test_" in code
    sends = re.search(r"(client|session|taxizer)\.post|submit_signed_xml\w*\(", code)
    assert counters.resources > 0 or is_alone or not sends
    assert (tmp_path / "tokens").exists() == (FOLDER in PROGRAMS[name] and counters.connects > 0)
    assert (b":1" in redis_server.ask("DBSIZE")) == (REDIS_URL in PROGRAMS[name])


def test_there_are_blocks() -> None:
    """The pattern of `pages` finds every block."""
    text = "".join(map(text_of, NAMES))
    found = sum(block.language == "python" for block in BLOCKS.values())

    assert found == text.count("```python") >= 16
