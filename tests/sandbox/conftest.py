from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async.testing import Sandbox

from .caller import Caller


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(name="caller")
def _caller(sandbox: Sandbox) -> Iterator[Caller]:
    with httpx.Client(base_url=sandbox.base_url, timeout=5) as client:
        yield Caller(client)
