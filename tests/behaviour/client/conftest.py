"""A sandbox per test, another server beside it, and clients of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async import TaxizerAuth
from tests.support.onlooker import Onlooker


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async import Event
    from taxizer_async.testing import Sandbox


@pytest.fixture(name="onlooker")
def _onlooker() -> Iterator[Onlooker]:
    with Onlooker() as onlooker:
        yield onlooker


@pytest.fixture(name="events")
def _events() -> list[Event]:
    return []


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox, events: list[Event]) -> TaxizerAuth:
    return TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, on_event=events.append)
