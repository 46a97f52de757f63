"""Demos as real processes, and what they print."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading

from collections.abc import Callable, Iterator

import attrs

from tests.support import families
from tests.support.families import PATIENCE

from .conftest import clean_environment


@attrs.frozen
class Ran:
    code: int
    stdout: str
    stderr: str = ""

    @property
    def table(self) -> dict[str, str]:
        return dict(re.findall(r"│ (.+?) +│ +(.+?) │", self.stdout))

    def check(self) -> None:
        """Check that no request failed, and that no login or renewal was one too many."""
        table = self.table

        assert (self.code, self.stderr) == (0, "")
        assert table["failures"] == "0"
        assert table["logins"] == "2"
        assert table["renewals"] == "2"
        assert table["calls to token endpoints"] == "7"

    @property
    def workers(self) -> list[list[int]]:
        """The counts of each worker: requests, failures, logins, renewals, adoptions."""
        rows = re.findall(r"^│ +(\d+ (?:│ +[\d,]+ ){5})│$", self.stdout, re.MULTILINE)
        return [[int(cell.replace(",", "")) for cell in row.split("│")[1:]] for row in rows]

    def lines(self, subject: str) -> list[str]:
        return re.findall(rf"^ *[\d.]+ s  {subject} +(.+)$", self.stdout, re.MULTILINE)


def descendants(pid: int) -> list[int]:
    """Return the processes that *pid* has started, and those that these have."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607 - where it is depends on the system
        capture_output=True,
        check=True,
        text=True,
    )
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent and child not in found]
    return found[1:]


@contextlib.contextmanager
def start(*args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program; it ends with the `with`, and so do its workers and its server."""
    with families.running(
        [sys.executable, *args],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            _end(process)


@contextlib.contextmanager
def start_on_terminal(*args: str, **env: str) -> Iterator[Callable[[], Ran]]:
    """Start the program on a terminal, and yield a function that waits for its end."""
    screen, stdout = pty.openpty()
    with os.fdopen(screen, "rb", buffering=0) as drawing, os.fdopen(stdout, "wb") as terminal:
        command = [sys.executable, "-m", "taxizer_async", *args]
        streams = {"stdin": subprocess.DEVNULL, "stdout": terminal}
        with families.running(command, env=clean_environment(env), **streams) as process:
            terminal.close()
            drawn = bytearray()

            def read() -> None:
                # Linux reports the end of a terminal as an input/output error.
                with contextlib.suppress(OSError):
                    while chunk := drawing.read(65_536):
                        drawn.extend(chunk)

            # From the start, as a program stops when its terminal is full.
            reader = threading.Thread(target=read)
            reader.start()

            def finish() -> Ran:
                code = process.wait(PATIENCE)
                reader.join()
                return Ran(code, drawn.decode())

            try:
                yield finish
            finally:
                _end(process)
                reader.join()


def _end(process: subprocess.Popen[str]) -> None:
    """End a demo that still runs, and its workers and server, which are in other sessions."""
    if process.poll() is None:
        # It starts no more of them while they are listed.
        process.send_signal(signal.SIGSTOP)
        started = descendants(process.pid)
        families.end(process)
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    families.end(process)


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for the end of *process*, and return what it printed."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return Ran(process.returncode, stdout, stderr)
