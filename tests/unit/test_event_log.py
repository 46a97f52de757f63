from __future__ import annotations

import logging

from typing import Any

import anyio
import pytest

from taxizer_async import ConfigurationError, Credentials, TaxizerAuth
from taxizer_async._core import events
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import Event
from tests.support.limits import HANG


ONE, TWO, THREE = events.Forgotten(), events.StoreRecovered(), events.TokenRefused(renewing=False)


@pytest.fixture(name="log")
def _log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "taxizer_async")
    return caplog


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
    assert "on_event failed on Forgotten: it took more than 0.01 s" in log.text


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
