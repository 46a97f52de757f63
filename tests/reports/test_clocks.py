"""A local clock that is wrong costs an exchange or two, and no request."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async import TaxizerAuth
from taxizer_async.testing import ManualClock


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
