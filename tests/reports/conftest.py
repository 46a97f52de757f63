"""A sandbox per test, and an auth that logs in there."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import ManualClock, Sandbox


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="machine_zone", params=["UTC", "America/New_York", "Asia/Tokyo"])
def _machine_zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Set the machine's time zone."""
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone cannot be set here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    return TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
