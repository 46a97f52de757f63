from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from taxizer_async.testing import Sandbox
from tests.support.callers import TLS
from tests.support.limits import HANG

from .caller import Caller


@pytest.fixture(name="caller")
def _caller(sandbox: Sandbox) -> Iterator[Caller]:
    with httpx.Client(base_url=sandbox.base_url, timeout=HANG, verify=TLS) as client:
        yield Caller(client)
