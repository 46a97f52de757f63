"""Files that are quick to write."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the disk: no machine loses its power here, and files are written a thousand times."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
