"""The two libraries that our clients extend."""

from __future__ import annotations

import pytest

from .libraries import HTTPX, HTTPX2, Library


@pytest.fixture(name="library", params=[HTTPX, HTTPX2], ids=["httpx", "httpx2"])
def _library(request: pytest.FixtureRequest) -> Library:
    library: Library = request.param
    return library
