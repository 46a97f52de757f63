"""A local clock that is wrong costs an exchange or two, and no request."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async import MemoryTokenStore, TaxizerAuth
from taxizer_async.testing import Fault, ManualClock
from tests.behaviour.auth.conftest import DUE


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


PATH = "/v1/Devices/Register"
HOUR, DAY = 3_600.0, 86_400.0


@pytest.mark.report(55)
@pytest.mark.report(56)
@pytest.mark.parametrize("send_date", [True, False], ids=["date", "no-date"])
@pytest.mark.parametrize("ahead", [-DAY, -HOUR, HOUR, DAY])
async def test_a_wrong_clock_locks_nobody_out(
    sandbox: Sandbox, ahead: float, *, send_date: bool
) -> None:
    """Though our clock is far off, and the server may not tell its own, a token is used and renewed."""
    sandbox.send_date = send_date
    clock = ManualClock(start=time.time() + ahead)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(60):
            await auth.token()
            clock.advance(1.0)
        assert (await client.post(PATH)).status_code == 200
        # What the end of its life looks like, whether we expect that or not.
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    # Without a Date each token looks dead to a clock that is ahead: it is renewed every 30 s.
    assert sandbox.counters.exchanges <= (4 if ahead > 0 and not send_date else 2)


@pytest.mark.report(135)
@pytest.mark.parametrize("seconds", [2 * HOUR, -2 * HOUR])
@pytest.mark.parametrize("age", [0.0, DUE + 1.0])
async def test_a_clock_that_is_set_in_an_outage_costs_nothing(
    sandbox: Sandbox, clock: ManualClock, age: float, seconds: float
) -> None:
    """With the token endpoints down, whoever has a good token, or finds one in the store, goes on with it."""
    store = MemoryTokenStore(clock=clock)
    first, second = (
        TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, store=store)
        for _ in range(2)
    )
    await first.token()
    clock.advance(age)
    sandbox.fail("connect", Fault.status(503))
    sandbox.fail("refresh", Fault.status(503))
    clock.jump(seconds)
    async with httpx.AsyncClient(auth=first, base_url=sandbox.base_url) as client:
        for _ in range(20):
            assert (await client.post(PATH)).status_code == 200
    await second.token()

    assert second.status().adoptions == 1
    assert sandbox.counters.connects == 1
