"""What tests of the behaviour work with: an auth or several, their clock, store and events, and what looks for secrets."""

from __future__ import annotations

import time

from collections.abc import Iterator
from typing import Any

import pytest

from taxizer_async import Event, TaxizerAuth
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import Fleet, FleetFactory, MakeAuth, auth_of
from tests.support.canaries import Exposed, canaries_of, exposures, logged
from tests.support.onlooker import Onlooker
from tests.support.scripted_store import ScriptedStore


@pytest.fixture(name="events")
def _events() -> list[Event]:
    return []


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> ScriptedStore:
    return ScriptedStore(clock)


@pytest.fixture(name="make_auth")
def _make_auth(
    sandbox: Sandbox, clock: ManualClock, store: ScriptedStore, events: list[Event]
) -> MakeAuth:
    """Build auths that share a clock, a store and the list of events."""

    def make(credentials: Any = sandbox.credentials, **options: Any) -> TaxizerAuth:
        arguments: dict[str, Any] = {
            "base_url": sandbox.base_url,
            "clock": clock,
            "store": store,
            "on_event": events.append,
        }
        return TaxizerAuth(credentials, **(arguments | options))

    return make


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox, events: list[Event]) -> TaxizerAuth:
    """One that lives by the machine's clock."""
    return auth_of(sandbox, on_event=events.append)


@pytest.fixture(name="aging_auth")
def _aging_auth(make_auth: MakeAuth) -> TaxizerAuth:
    """One that ages its token by the clock of the test."""
    return make_auth(store=None)


@pytest.fixture(name="fleet")
def _fleet(sandbox: Sandbox) -> FleetFactory:
    def build(auth: Any, *, clients: int = 1, connections: int = 20) -> Fleet:
        return Fleet(sandbox, auth, clients=clients, connections=connections)

    return build


@pytest.fixture(name="onlooker")
def _onlooker() -> Iterator[Onlooker]:
    with Onlooker() as onlooker:
        yield onlooker


@pytest.fixture(name="environment")
def _environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Point the environment at the sandbox; return what changes it."""
    monkeypatch.setenv("TAXIZER_CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", sandbox.credentials.client_secret.reveal())
    monkeypatch.setenv("TAXIZER_BASE_URL", sandbox.base_url)
    return monkeypatch


@pytest.fixture(name="log")
def _log() -> Iterator[list[tuple[str, str]]]:
    with logged() as log:
        yield log


@pytest.fixture(name="exposed")
def _exposed(sandbox: Sandbox, log: list[tuple[str, str]]) -> Exposed:
    """Return where a secret of the sandbox is seen: in the log so far, or in one of the things given."""
    return lambda *things: exposures(canaries_of(sandbox), log, things)
