"""A process whose stdout is a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from .conftest import clean_environment


class TerminalProcess:
    """Runs the program under a pseudo-terminal and collects what it draws."""

    def __init__(self, *args: str, **env: str) -> None:
        self._screen, stdout = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "taxizer_async", *args],
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        os.close(stdout)

    def finish(self) -> tuple[int, str]:
        drawn = bytearray()
        while chunk := self._read():
            drawn += chunk
        os.close(self._screen)
        with self._process:
            return self._process.wait(), drawn.decode()

    def _read(self) -> bytes:
        try:
            return os.read(self._screen, 65536)
        except OSError:
            # Linux reports the end of a terminal as an input/output error.
            return b""
