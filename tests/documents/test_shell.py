"""The commands in the documentation run, in the order of their page, and print what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib

from pathlib import Path
from typing import Final

import attrs
import pytest

from taxizer_async.testing import Sandbox
from tests.documents.pages import NAMES, ROOT, blocks_of, text_of


#: What a command that is not run begins with: it installs something, or serves, or another test runs it.
NOT_RUN: Final = (
    "pip install",
    "python3 -m venv",
    ".venv/bin/",
    ". .venv",
    "celery",
    "docker",
    "kubectl",
    "redis-benchmark",
    "redis-cli",
)
#: What a page starts in another terminal, and the port that it gives it.
SERVERS: Final = {"taxizer-async sandbox": "8765", "uvicorn": "8766"}
#: What the reader has.
USERS_FILES: Final = {
    "invoice.json": (
        '{"uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d", "invoiceNumber": "INV-1", '
        '"deviceId": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "signedXmlInvoice": "PEludm9pY2UvPg=="}'
    ),
    "invoice.xml": "<Invoice/>",
    "invoices.jsonl": (
        '{"uuid": "8e6000cf-1a98-4174-b3e7-b5d5954bc10d", "invoice_number": "INV-1", "file": "invoice.xml", '
        '"device_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6"}'
    ),
}
_EXTRAS: Final = re.compile(r"taxizer-async\[([\w,]+)\]")


@attrs.frozen
class Command:
    """A command, and what the page says that it prints; `…` stands for anything."""

    line: str
    output: str

    @property
    def is_run(self) -> bool:
        """Whether the test runs it."""
        is_here = not self.line.startswith("curl") or shutil.which("curl") is not None
        return is_here and not self.line.startswith(NOT_RUN)

    def prints(self, told: str) -> bool:
        """Return whether it may have printed *told*."""
        pattern = re.escape(self.output.strip()).replace("…", ".*")
        return not self.output.strip() or re.fullmatch(pattern, told.strip(), re.DOTALL) is not None


def commands_of(name: str) -> list[Command]:
    """Return the commands of a page."""
    found: list[Command] = []
    for block in blocks_of(name):
        if block.language != "console":
            continue
        head, *parts = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
        assert not head.strip(), f"{block.name} begins without a prompt"
        for part in parts:
            line, _, output = part.replace("\\\n", " ").partition("\n")
            found.append(Command(line, output))
    return found


PAGES_THAT_RUN: Final = [name for name in NAMES if any(each.is_run for each in commands_of(name))]


def _script(commands: list[Command], ports: dict[str, str]) -> str:
    """Return a script for bash that runs *commands*, with a mark before and the exit code after each."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for number, command in enumerate(commands):
        lines.append("printf '\\x1e'")
        served = next((port for name, port in SERVERS.items() if name in command.line), None)
        if served is None:
            lines.append(command.line)
        else:
            lines += [
                f"{command.line} >{number}.log 2>&1 &",
                f"until (: </dev/tcp/127.0.0.1/{served}) 2>/dev/null; do sleep 0.05; done",
                f"until [ -s {number}.log ]; do sleep 0.05; done",
                f"cat {number}.log",
            ]
        lines.append("printf '\\x1f%s' $?")
    return _translated("\n".join(lines), ports)


def _translated(text: str, ports: dict[str, str]) -> str:
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for bash")
@pytest.mark.parametrize("name", PAGES_THAT_RUN)
def test_commands_run(name: str, tmp_path: Path) -> None:
    """Each command ends well, and prints what the page shows."""
    commands = [command for command in commands_of(name) if command.is_run]
    ports = {port: _free_port() for port in SERVERS.values()}
    for block in blocks_of(name):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.code, "utf-8")
    shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
    for file, content in USERS_FILES.items():
        (tmp_path / file).write_text(content, "utf-8")
    with Sandbox() as sandbox:
        done = subprocess.run(
            ["/bin/bash", "-c", _script(commands, ports)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=120,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "TAXIZER_CLIENT_ID": sandbox.credentials.client_id,
                "TAXIZER_CLIENT_SECRET": sandbox.credentials.client_secret.reveal(),
                "TAXIZER_BASE_URL": sandbox.base_url,
                "XDG_STATE_HOME": str(tmp_path / "state"),
                "COLUMNS": "100",
            },
        )
    told = _translated(done.stdout, {new: old for old, new in ports.items()})
    results = [each.rpartition("\x1f")[::2] for each in told.split("\x1e")[1:]]

    assert len(results) == len(commands), told
    for command, (output, code) in zip(commands, results, strict=True):
        assert code == "0", f"{command.line}: {output}"
        assert command.prints(output), f"{command.line} printed\n{output}"


def test_every_file_in_a_page_is_run_there() -> None:
    """A block with a title is a file that a command of its page names."""
    for name in NAMES:
        lines = " ".join(command.line for command in commands_of(name) if command.is_run)
        for block in blocks_of(name):
            assert block.title is None or block.title in lines, block.name


def test_every_extra_that_is_installed_exists() -> None:
    """A command that installs the package names extras that there are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        extra
        for name in NAMES
        for extras in _EXTRAS.findall(text_of(name))
        for extra in extras.split(",")
    }

    assert named <= set(project["optional-dependencies"])
