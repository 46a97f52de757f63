"""The client's end of `server.py`: starts the process, gives orders, and ends it. It measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys

from pathlib import Path
from typing import Any, Self, final

import attrs


_PROGRAM = Path(__file__).with_name("server.py")
#: Seconds for the process to end once its orders do.
_PATIENCE = 15.0


@attrs.frozen(kw_only=True)
class Target:
    """Where a sandbox is, and the pair that it accepts."""

    base_url: str
    client_id: str
    client_secret: str = attrs.field(repr=False)


def end(process: subprocess.Popen[str]) -> None:
    """Close what *process* reads, at whose end it ends; kill it if it does not."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.close()
    try:
        process.wait(_PATIENCE)
    finally:
        process.kill()
        process.wait()
        stdout.close()


@final
class Service:
    """The process, between `__enter__` and `__exit__`."""

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        end(self._process)

    def open(self, name: str, **settings: float) -> Site:
        """Return a fresh sandbox with *settings*, called *name* in orders."""
        site = Site(self, name, Target(**self.order("open", name)))
        site.set(**settings)
        return site

    def order(self, what: str, name: str, **details: object) -> dict[str, Any]:
        """
        Give one order, and return its answer.

        Raises:
            RuntimeError: If the process has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{json.dumps({'do': what, 'name': name, **details})}\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            msg = "the server of the benchmarks has ended"
            raise RuntimeError(msg)
        answer: dict[str, Any] = json.loads(line)
        return answer


@final
class Site:
    """One sandbox of a `Service`; *target* is where."""

    def __init__(self, service: Service, name: str, target: Target) -> None:
        self._service = service
        self._name = name
        self.target = target

    def set(self, **settings: float) -> None:
        """Change attributes of the sandbox."""
        self._service.order("set", self._name, settings=settings)

    def revoke(self) -> None:
        """Refuse every JWT issued so far."""
        self._service.order("revoke", self._name)

    def down(self) -> None:
        """Have the token endpoints answer 503."""
        self._service.order("down", self._name)

    def up(self) -> None:
        """End that."""
        self._service.order("up", self._name)

    def reset(self) -> None:
        """Set the counters to nothing."""
        self._service.order("reset", self._name)

    def counters(self) -> dict[str, int]:
        """Return what was counted since."""
        return self._service.order("counters", self._name)

    def exchanges(self) -> list[dict[str, Any]]:
        """Return the requests to the token endpoints; times are `time.monotonic`'s."""
        entries: list[dict[str, Any]] = self._service.order("exchanges", self._name)["entries"]
        return entries
