"""How many checkpoints were tried, and files that are quick to write."""

from __future__ import annotations

import os

from typing import TYPE_CHECKING, Protocol

import pytest


if TYPE_CHECKING:
    from collections.abc import Callable


class NotePoints(Protocol):
    def __call__(self, points: int, least: int, /) -> None: ...


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the disk: no machine loses its power here, and files are written a thousand times."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="note_points")
def _note_points(record_property: Callable[[str, object], None]) -> NotePoints:
    """Note for `count` at how many checkpoints a call was cancelled, which is to be *least* or more."""

    def note(points: int, least: int, /) -> None:
        record_property("points", points)
        assert points >= least

    return note
