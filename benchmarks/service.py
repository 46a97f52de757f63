"""Starts `server.py` and the workers, sends them commands, and ends them."""

from __future__ import annotations

import json
import subprocess
import sys

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import attrs


if TYPE_CHECKING:
    from collections.abc import Mapping


_PROGRAM = Path(__file__).with_name("server.py")
#: Runs a module of this folder though Python's path leaves the current one out; what is installed comes first.
_RUN_MODULE = (
    "import runpy, sys; _, root, module = sys.argv; sys.path.append(root); "
    "sys.argv = [module]; runpy.run_module(module, run_name='__main__', alter_sys=True)"
)
#: Seconds that the process may take to end.
_EXIT_TIMEOUT = 15.0


@attrs.frozen(kw_only=True)
class Target:
    """The address of a sandbox, and the credentials that it accepts."""

    base_url: str
    client_id: str
    client_secret: str = attrs.field(repr=False)


def end(process: subprocess.Popen[str]) -> None:
    """Close the stdin of *process*, which ends it; kill it if it does not end."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.close()
    try:
        process.wait(_EXIT_TIMEOUT)
    finally:
        process.kill()
        process.wait()
        stdout.close()


@final
class Service:
    """The process; a context manager."""

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
        """Open a sandbox with *settings*, called *name* in commands."""
        site = Site(self, name, Target(**self.send("open", name)))
        site.set(**settings)
        return site

    def send(self, command: str, name: str, **details: object) -> dict[str, Any]:
        """
        Send one *command* for the sandbox called *name*, and return the answer.

        Raises:
            RuntimeError: If the process has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{json.dumps({'do': command, 'name': name, **details})}\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            msg = "the server of the benchmarks has ended"
            raise RuntimeError(msg)
        answer: dict[str, Any] = json.loads(line)
        return answer


@final
class Site:
    """One sandbox of a `Service`, at *target*."""

    def __init__(self, service: Service, name: str, target: Target) -> None:
        self._service = service
        self._name = name
        self.target = target

    def set(self, **settings: float) -> None:
        """Change attributes of the sandbox."""
        self._service.send("set", self._name, settings=settings)

    def revoke(self) -> None:
        """Refuse every JWT issued so far."""
        self._service.send("revoke", self._name)

    def down(self) -> None:
        """Let the token endpoints answer 503."""
        self._service.send("down", self._name)

    def refresh_down(self) -> None:
        """Let AppRefreshToken answer 503."""
        self._service.send("refresh_down", self._name)

    def up(self) -> None:
        """Let them answer as usual again."""
        self._service.send("up", self._name)

    def reset(self) -> None:
        """Set the counters to 0."""
        self._service.send("reset", self._name)

    def counters(self) -> dict[str, int]:
        """Return the counters."""
        return self._service.send("counters", self._name)

    def exchanges(self) -> list[dict[str, Any]]:
        """Return the requests to the token endpoints, with times of `time.monotonic`."""
        entries: list[dict[str, Any]] = self._service.send("exchanges", self._name)["entries"]
        return entries


@final
class WorkerProcess:
    """A process of *program*, a module, with *config*; it ends with its stdin."""

    def __init__(self, config: Mapping[str, object], program: str = "benchmarks.worker") -> None:
        self._config = config
        self._program = program

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN_MODULE, str(_PROGRAM.parents[1]), self._program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.send(json.dumps(dict(self._config)))
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        end(self._process)

    def send(self, line: str) -> None:
        """Send one line."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n")
        stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next report."""
        stdout = self._process.stdout
        assert stdout is not None
        report: dict[str, Any] = json.loads(stdout.readline())
        return report
