"""A server as a process: its start, what it says, and its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Self, final

from taxizer_async.testing import Sandbox
from tests.support import families


PATIENCE = families.PATIENCE


def environment_of(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """Return the variables that point a service at *sandbox*."""
    return {
        "TAXIZER_BASE_URL": sandbox.base_url,
        "TAXIZER_CLIENT_ID": sandbox.client_id,
        "TAXIZER_CLIENT_SECRET": sandbox.credentials.client_secret.reveal(),
        **more,
    }


@final
class Server:
    """
    `python ARGUMENTS`, which is to say on which port it serves.

    What still runs of it at the end is killed, with all that it has started.

    Warnings are on, so that one is seen in what it says.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self._said: list[str] = []
        self._news = threading.Condition()
        self._process = families.start(
            [sys.executable, "-W", "default", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        try:
            assert self._process.stdout is not None
            self._reader = threading.Thread(target=self._listen, args=[self._process.stdout])
            self._reader.start()
        except BaseException:
            families.end(self._process)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        families.end(self._process)
        self._reader.join()

    @property
    def said(self) -> str:
        """What it has said so far, on either stream."""
        return "".join(self._said)

    @property
    def url(self) -> str:
        """Where it serves; waits until it says so."""
        pattern = re.compile(r"running on (http://[\w.]+:\d+)", re.IGNORECASE)
        self._wait_until(lambda: pattern.search(self.said) is not None)
        found = pattern.search(self.said)
        assert found
        return found[1]

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Wait until it has said *text*."""
        self._wait_until(lambda: self.said.count(text) >= times)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self._process.wait(PATIENCE)
        self._reader.join()
        return code

    def _wait_until(self, is_met: Callable[[], bool]) -> None:
        with self._news:
            met = self._news.wait_for(
                lambda: is_met() or self._process.poll() is not None, PATIENCE
            )
        assert met, self.said
        assert is_met(), self.said

    def _listen(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._said.append(line)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()


def attempts() -> Iterator[None]:
    """Count to no end, but fail when patience is over."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)
    raise TimeoutError
