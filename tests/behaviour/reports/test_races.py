"""Who loses a race for the store's token leaves the winner's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from taxizer_async import MemoryTokenStore, TaxizerAuth
from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from taxizer_async.testing import ManualClock, Sandbox


LIFETIME = 900.0


@pytest.mark.report(48)
@pytest.mark.report(86)
async def test_a_refused_loser_clears_nothing_of_the_winners(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """Who loses the lease in mid-refresh, and is refused then, takes what the winner has saved."""
    store = MemoryTokenStore(clock=clock)
    loser, winner, other = (
        TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store, clock=clock)
        for _ in range(3)
    )
    await loser.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", Fault.status(400))
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(loser.token)
            await gate.wait_until_async(1)
            # What a lease that ends by itself looks like.
            store._state.get().leases.clear()
            won = await winner.token()

    assert loser.status().adoptions == 1
    assert (await loser.token()).jwt == won.jwt
    exchanges = sandbox.counters.exchanges
    assert (await other.token()).jwt == won.jwt
    assert sandbox.counters.exchanges == exchanges
