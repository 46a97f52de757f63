from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.limits import HANG

from .caller import Caller


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async.testing import Sandbox


@pytest.fixture(name="caller")
def _caller(sandbox: Sandbox) -> Iterator[Caller]:
    with httpx.Client(base_url=sandbox.base_url, timeout=HANG) as client:
        yield Caller(client)
