"""A sandbox per test, and an auth that logs in there."""

from __future__ import annotations

import time

import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import ManualClock, Sandbox


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    return TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
