from __future__ import annotations

import logging

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import anyio
import pytest

from taxizer_async import ConfigurationError, Credentials, TaxizerAuth
from taxizer_async._core import events
from taxizer_async._core.event_log import _LEVELS, EventLog
from tests.support.limits import HANG


if TYPE_CHECKING:
    from taxizer_async._core.events import Event


WHEN = datetime(2024, 9, 15, tzinfo=UTC)

EVENTS = [
    (events.LoggedIn(elapsed=0.1, expires_at=WHEN), logging.INFO),
    (events.Renewed(elapsed=0.1, expires_at=None), logging.INFO),
    (events.Adopted(expires_at=WHEN), logging.DEBUG),
    (events.RefreshRefused(reason="the server refused it", status_code=400), logging.WARNING),
    (
        events.ExchangeFailed(reason="x", status_code=503, retry_at=WHEN, ahead_of_need=True),
        logging.WARNING,
    ),
    (events.TokenAwaited(callers=1, waits=(0.1,)), logging.DEBUG),
    (events.LeaseAwaited(elapsed=0.1, outcome="served"), logging.DEBUG),
    (events.TokenRefused(renewing=True), logging.INFO),
    (events.Forgotten(), logging.INFO),
    (events.StoreFailed(operation="load", reason="OSError"), logging.WARNING),
    (events.StoreRecovered(), logging.INFO),
    (events.OriginSkipped(origin="https://example.com"), logging.WARNING),
]
ONE, TWO, THREE = events.Forgotten(), events.StoreRecovered(), events.TokenRefused(renewing=False)


@pytest.fixture(name="log")
def _log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "taxizer_async")
    return caplog


@pytest.mark.parametrize(("event", "level"), EVENTS, ids=lambda v: type(v).__name__)
def test_levels(event: Event, level: int, log: pytest.LogCaptureFixture) -> None:
    """Each event is logged at once, at its level, with its fields."""
    EventLog(None, timeout=HANG).emit(event)

    (record,) = log.records
    assert record.name == "taxizer_async"
    assert record.levelno == level
    assert record.getMessage() == str(event)


def test_every_event_has_a_level() -> None:
    """Every event has a level."""
    assert set(_LEVELS) == set(get_args(events.Event))


@pytest.mark.report(31)
async def test_a_sync_hook(log: pytest.LogCaptureFixture) -> None:
    """A sync hook hears of each event once, in order, a little later."""
    heard: list[Event] = []
    event_log = EventLog(heard.append, timeout=HANG)
    for event in (ONE, TWO, THREE):
        event_log.emit(event)
    assert heard == []
    await event_log.delivered()
    await event_log.delivered()

    assert heard == [ONE, TWO, THREE]
    assert not [record for record in log.records if record.levelno >= logging.ERROR]


@pytest.mark.report(31)
async def test_an_async_hook() -> None:
    """An async hook is awaited for each event before it hears of the next."""
    steps: list[object] = []

    async def hook(event: Event) -> None:
        steps.append(event)
        await anyio.lowlevel.checkpoint()
        steps.append("done")

    event_log = EventLog(hook, timeout=HANG)
    event_log.emit(ONE)
    event_log.emit(TWO)
    await event_log.delivered()

    assert steps == [ONE, "done", TWO, "done"]


async def test_a_hook_that_hangs(log: pytest.LogCaptureFixture) -> None:
    """A hook that hangs is abandoned after its timeout, and hears of the next event."""
    heard: list[Event] = []

    async def hook(event: Event) -> None:
        heard.append(event)
        if event is ONE:
            await anyio.sleep_forever()

    event_log = EventLog(hook, timeout=0.01)
    event_log.emit(ONE)
    event_log.emit(TWO)
    with anyio.fail_after(HANG):
        await event_log.delivered()

    assert heard == [ONE, TWO]
    assert "on_event failed with nothing within 0.01 s on Forgotten" in log.text


async def test_a_hook_that_adds(log: pytest.LogCaptureFixture) -> None:
    """An event that is emitted while a hook runs is delivered after it."""
    heard: list[Event] = []

    def hook(event: Event) -> None:
        heard.append(event)
        if event is ONE:
            event_log.emit(TWO)

    event_log = EventLog(hook, timeout=HANG)
    event_log.emit(ONE)
    await event_log.delivered()

    assert heard == [ONE, TWO]
    assert len(log.records) == 2


@pytest.mark.report(31)
@pytest.mark.parametrize("hook", ["log", 7, []], ids=repr)
def test_a_hook_is_callable(hook: Any) -> None:
    """A hook that is not callable is refused when it is passed, not when it is needed (report 31)."""
    with pytest.raises(ConfigurationError, match=f"not {type(hook).__name__}$"):
        TaxizerAuth(Credentials("id", "secret"), on_event=hook)
