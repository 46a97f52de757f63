"""Real redis-servers: the demo's, with a look into its memory, a cluster of one, and a Sentinel."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from pathlib import Path
from typing import TYPE_CHECKING

from taxizer_async._cli.demo import redis_server
from tests.support import families
from tests.support.server_process import attempts


if TYPE_CHECKING:
    from collections.abc import Iterator


def find_redis_server() -> str:
    """Return the program; the suite can't do without one."""
    found = redis_server.find_redis_server()
    assert found is not None, "no redis-server on PATH: install one, or run nox, which does"
    return found


class RedisServer(redis_server.RedisServer):
    """Runs between `start` and `stop`, or for the length of a `with`."""

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
                    # The kernel keeps some pages to itself.
                    with contextlib.suppress(OSError):
                        memory.seek(start)
                        found.append(memory.read(end - start))
        return b"".join(found)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[RedisServer]:
    """Run a cluster of one server, which has all slots."""
    with RedisServer(folder, options=["--cluster-enabled", "yes"]) as server:
        for first in range(0, 16_384, 4_096):
            slots = " ".join(map(str, range(first, first + 4_096)))
            assert server.ask(f"CLUSTER ADDSLOTS {slots}") == b"+OK\r\n"
        for _ in attempts():
            if b"cluster_state:ok" in server.ask("CLUSTER INFO"):
                break
        yield server


@contextlib.contextmanager
def running_sentinel(folder: Path, port: int) -> Iterator[int]:
    """Run a Sentinel of the server at *port*, which it calls "till", and return its own port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own: int = listener.getsockname()[1]
    config = folder / "sentinel.conf"
    config.write_text(f"port {own}\nbind 127.0.0.1\nsentinel monitor till 127.0.0.1 {port} 1\n")
    with families.running(
        [find_redis_server(), str(config), "--sentinel"], stdout=subprocess.DEVNULL
    ):
        for _ in attempts():
            if _listens(own):
                break
        yield own


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
