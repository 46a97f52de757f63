"""A manual clock, the real SDK in memory, and auth objects that report to it."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.scripted_store import ScriptedStore

from .recorded import Recorded


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async._core.event_log import EventHook


class MakeAuth(Protocol):
    def __call__(
        self, *, name: str | None = ..., then: EventHook | None = ..., **options: Any
    ) -> TaxizerAuth: ...


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time())


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> ScriptedStore:
    return ScriptedStore(clock)


@pytest.fixture(name="recorded")
def _recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.close()


@pytest.fixture(name="make_auth")
def _make_auth(
    sandbox: Sandbox, clock: ManualClock, store: ScriptedStore, recorded: Recorded
) -> MakeAuth:
    def make(
        *, name: str | None = None, then: EventHook | None = None, **options: Any
    ) -> TaxizerAuth:
        hook = recorded.telemetry.hook(name=name, then=then)
        arguments: dict[str, Any] = {
            "credentials": sandbox.credentials,
            "base_url": sandbox.base_url,
            "clock": clock,
            "store": store,
            "on_event": hook,
        }
        auth = hook.bind(TaxizerAuth(**(arguments | options)))
        recorded.auths.append(auth)
        return auth

    return make
