"""A real redis-server: the demo's, with a look into its memory."""

from __future__ import annotations

import contextlib

from pathlib import Path

from taxizer_async._cli.demo import redis_server


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
