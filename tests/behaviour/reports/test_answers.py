"""Tokens as servers write them, through a login, a store and a renewal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async import MemoryTokenStore, TaxizerAuth
from taxizer_async.testing import Fault
from taxizer_async.testing._sandbox.tokens import TIMELESS_STYLES, TIMESTAMP_STYLES


if TYPE_CHECKING:
    from taxizer_async.testing import ManualClock, Sandbox
    from taxizer_async.testing._sandbox.tokens import TimestampStyle


PATH = "/v1/Devices/Register"


@pytest.mark.report(49)
@pytest.mark.parametrize("value", [None, Fault.MISSING, "", 17, {}], ids=repr)
@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_a_token_without_a_refresh_token_is_a_token(
    sandbox: Sandbox, auth: TaxizerAuth, where: str, value: object
) -> None:
    """An answer without a usable refreshToken is used for its life, and what follows it is no error."""
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        if where == "refresh":
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()
        sandbox.fail(where, Fault.edit(refreshToken=value), times=1)
        assert (await client.post(PATH)).status_code == 200
        exchanges = sandbox.counters.exchanges
        assert (await client.post(PATH)).status_code == 200
        assert sandbox.counters.exchanges == exchanges
        sandbox.revoke()
        assert (await client.post(PATH)).status_code == 200

    assert sandbox.counters.exchanges == exchanges + 1
    assert sandbox.counters.reuses == 0


@pytest.mark.report(58)
@pytest.mark.report(61)
@pytest.mark.report(62)
@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize("style", sorted(set(TIMESTAMP_STYLES) - TIMELESS_STYLES))
async def test_each_way_to_write_a_moment_gives_the_same_life(
    sandbox: Sandbox, clock: ManualClock, style: TimestampStyle
) -> None:
    """However the expiry is written, wherever this machine stands, it ends the token after its 900 s."""
    sandbox.timestamp_style = style
    store = MemoryTokenStore(clock=clock)
    first, second = (
        TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store, clock=clock)
        for _ in range(2)
    )
    for auth in (first, second, first, second):
        expires_at = (await auth.token()).expires_at
        assert expires_at is not None
        assert 890 < (expires_at - datetime.now(UTC)).total_seconds() < 902
        assert 890 < (auth.status().expires_in or 0) < 902
    assert sandbox.counters.exchanges == 1

    clock.advance(890)
    for auth in (first, second, first, second):
        await auth.token()
    assert sandbox.counters.exchanges == 2
