"""Fixtures that every folder uses: the event loops, and a clean environment."""

from __future__ import annotations

import os

import pytest


BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(name="anyio_backend", params=BACKENDS)
def _anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TAXIZER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
