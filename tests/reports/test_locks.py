"""What must not be held while a flow stands at its yield, or while a hook runs."""

from __future__ import annotations

import gc

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
import pytest

from taxizer_async import LoggedIn, Renewed, TaxizerAuth


if TYPE_CHECKING:
    from taxizer_async import Event
    from taxizer_async.testing import Sandbox


PATH = "/v1/Invoices/GenerateInvoice"


@pytest.mark.report(2)
# This is what trio thinks of a generator that is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_flow_that_nobody_closes_blocks_nobody(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A generator that its task drops at the yield, and that only the collector ends, holds nothing."""

    async def begin_and_drop() -> None:
        flow = auth.async_auth_flow(httpx.Request("POST", sandbox.base_url + PATH))
        await flow.__anext__()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_and_drop)
    gc.collect()
    # The hooks of the event loop close it in a task of their own.
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(1):
            assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(10)
@pytest.mark.report(11)
@pytest.mark.parametrize("kind", [LoggedIn, Renewed])
async def test_a_hook_may_cause_the_next_renewal(sandbox: Sandbox, kind: type[Event]) -> None:
    """A hook that hears of a new token, and whose own call meets a 401, has it renewed and goes on."""
    statuses: list[int] = []

    async def call_back(event: Event) -> None:
        if isinstance(event, kind) and not statuses:
            statuses.append((await client.post(PATH)).status_code)
            sandbox.revoke()
            statuses.append((await client.post(PATH)).status_code)

    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, on_event=call_back)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        # Less than what a hook that waits for ever is given.
        with anyio.fail_after(3):
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()
            assert (await client.post(PATH)).status_code == 200

    assert statuses == [200, 200]
