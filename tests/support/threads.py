"""What a test does to the threads of its process."""

from __future__ import annotations

import threading

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import pytest


def refuse_threads(
    monkeypatch: pytest.MonkeyPatch, message: str = "can't start new thread"
) -> None:
    """Let no thread be started, as where a container has as many as it may."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
