"""Real redis-servers: the demo's, with a look into its memory, clusters of one and of two, and a Sentinel."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

import redis

from taxizer_async._cli.demo import redis_server
from tests.support import families
from tests.support.server_process import attempts


#: The bus of a cluster has the port of its server and so many more.
_HIGHEST_OF_CLUSTER = 65_535 - 10_000


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
    with _node_of_cluster(folder) as server:
        for first in range(0, 16_384, 4_096):
            slots = " ".join(map(str, range(first, first + 4_096)))
            assert server.ask(f"CLUSTER ADDSLOTS {slots}") == b"+OK\r\n"
        _wait_for_cluster(server, nodes=1)
        yield server


@contextlib.contextmanager
def running_cluster_of_two(folder: Path) -> Iterator[Cluster]:
    """Run a cluster of two servers, the first of which has all slots."""
    (folder / "other").mkdir()
    with running_cluster(folder) as server, _node_of_cluster(folder / "other") as other:
        assert server.ask(f"CLUSTER MEET 127.0.0.1 {other.port}") == b"+OK\r\n"
        for each in (server, other):
            _wait_for_cluster(each, nodes=2)
        yield Cluster(server, other)


@final
class Cluster:
    """Moves slots from *server* to *other*."""

    def __init__(self, server: RedisServer, other: RedisServer) -> None:
        self.server = server
        self.other = other

    def move_all_keys(self, *, pause: float) -> int:
        """Move each slot that has keys, as `redis-cli --cluster reshard` does; *pause* before each key."""
        source: Any = redis.Redis.from_url(self.server.url)
        target: Any = redis.Redis.from_url(self.other.url)
        with source, target:
            own, others = (
                each.execute_command("CLUSTER MYID").decode() for each in (source, target)
            )
            keys = source.keys()
            slots = {source.execute_command("CLUSTER KEYSLOT", key) for key in keys}
            for slot in slots:
                target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", own)
                source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", others)
            for key in keys:
                time.sleep(pause)
                source.execute_command(*("MIGRATE", "127.0.0.1", self.other.port, key, 0, 5_000))
            for slot in slots:
                for each in (target, source):
                    each.execute_command("CLUSTER SETSLOT", slot, "NODE", others)
        return len(keys)


def _node_of_cluster(folder: Path) -> RedisServer:
    while True:
        server = RedisServer(folder, options=["--cluster-enabled", "yes"])
        if server.port <= _HIGHEST_OF_CLUSTER:
            return server


def _wait_for_cluster(server: RedisServer, *, nodes: int) -> None:
    wanted = (b"cluster_state:ok", f"cluster_known_nodes:{nodes}\r".encode())
    for _ in attempts():
        told = server.ask("CLUSTER INFO")
        if all(each in told for each in wanted):
            break


@contextlib.contextmanager
def running_sentinel(folder: Path, port: int, options: Iterable[str] = ()) -> Iterator[int]:
    """Run a Sentinel, with *options*, of the server at *port*, which it calls "till"; return its own port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own: int = listener.getsockname()[1]
    config = folder / "sentinel.conf"
    lines = [f"port {own}", "bind 127.0.0.1", f"sentinel monitor till 127.0.0.1 {port} 1"]
    lines += [f"sentinel {option}" for option in options]
    config.write_text("".join(f"{line}\n" for line in lines))
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
