"""What a test does to the threads of its process."""

from __future__ import annotations

import threading
import time

from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.support.limits import HANG


T = TypeVar("T")


def refuse_threads(
    monkeypatch: pytest.MonkeyPatch, message: str = "can't start new thread"
) -> None:
    """Let no thread be started, as where a container has as many as it may; trio's own threads may."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        # pytest's runner of trio waits for I/O in one, and would hang.
        if not thread.name.startswith("Trio thread"):
            raise RuntimeError(message)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def run_in_threads(count: int, call: Callable[[], T]) -> list[T | BaseException]:
    """Make *call* in *count* threads at once; return what it returned or raised, as it came."""
    results: list[T | BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    # A failing test does not wait for a thread that hangs.
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * HANG)
    assert not any(thread.is_alive() for thread in threads)
    return results


def helper_threads() -> list[threading.Thread]:
    """Return the threads that serve sync callers; Python lists for ever one that was kept from its start."""
    running = [each for each in threading.enumerate() if each.ident is not None]
    return [each for each in running if each.name == "taxizer_async sync"]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds, which another thread causes."""
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.001)
