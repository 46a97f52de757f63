"""What a user gives may be sync or async; what can't be is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taxizer_async import StoreFailed, TaxizerAuth


if TYPE_CHECKING:
    from taxizer_async import Event
    from taxizer_async.testing import Sandbox


class SyncStore:
    """Has the methods of a store, but none can be awaited."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def load(self, _: object, /) -> None:
        self.called.add("load")

    def save(self, *_: object) -> bool:
        self.called.add("save")
        return True

    def clear(self, _: object, /) -> None:
        self.called.add("clear")

    def lease(self, _: object, /) -> None:
        self.called.add("lease")


@pytest.mark.report(31)
async def test_a_sync_store_is_told_and_costs_no_request(sandbox: Sandbox) -> None:
    """A store that is not async is reported as failing, once, and not used any further."""
    store: Any = SyncStore()
    events: list[Event] = []
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, store=store, on_event=events.append
    )
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(3):
            assert (await client.post("/v1/Devices/Register")).status_code == 200
    await auth.events_delivered()

    failed = [event for event in events if isinstance(event, StoreFailed)]
    assert [event.reason for event in failed] == ["TypeError"]
    assert auth.status().store_failing
    assert store.called == {"lease"}
    assert sandbox.counters.exchanges == 1
