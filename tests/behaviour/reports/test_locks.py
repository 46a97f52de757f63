"""What must not be held while a flow stands at a yield, or while a hook runs."""

from __future__ import annotations

import gc

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
import pytest

from taxizer_async import LoggedIn, RenewalPolicy, Renewed, TaxizerAuth
from taxizer_async.testing import Fault
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taxizer_async import Event
    from taxizer_async.testing import Sandbox


PATH = "/v1/Invoices/GenerateInvoice"
LONG_PATH = "/v1/Invoices/Export"

#: How many 401s a flow has met when it is left: it has three yields to stand at.
REFUSALS = pytest.mark.parametrize("refusals", [0, 1, 2])


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    """Return one that takes no token for hopeless, so that a flow reaches its last yield."""
    return TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        policy=RenewalPolicy(refused_interval=1e-6, unauthorized_budget=9),
    )


async def begin(
    auth: TaxizerAuth, sandbox: Sandbox, refusals: int
) -> AsyncGenerator[httpx.Request, httpx.Response]:
    """Return a flow that stands at the yield after so many 401s."""
    flow = auth.async_auth_flow(httpx.Request("POST", sandbox.base_url + PATH))
    request = await flow.__anext__()
    for _ in range(refusals):
        request = await flow.asend(httpx.Response(401, request=request))
    return flow


async def renew_at_once(auth: TaxizerAuth, sandbox: Sandbox) -> None:
    before = sandbox.counters.exchanges
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200
    assert sandbox.counters.exchanges == before + 1


@pytest.mark.report(1)
@REFUSALS
async def test_a_flow_that_another_task_closes_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """A generator that one task has brought to a yield, and another closes there, holds nothing."""
    flows: list[AsyncGenerator[httpx.Request, httpx.Response]] = []

    async def begin_it() -> None:
        flows.append(await begin(auth, sandbox, refusals))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_it)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flows[0].aclose)

    await renew_at_once(auth, sandbox)


@pytest.mark.report(2)
# This is what trio thinks of a generator that is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@REFUSALS
async def test_a_flow_that_nobody_closes_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """A generator that its task drops at a yield, and that only the collector ends, holds nothing."""

    async def begin_and_drop() -> None:
        await begin(auth, sandbox, refusals)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_and_drop)
    gc.collect()
    # The hooks of the event loop close it in a task of their own.
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

    await renew_at_once(auth, sandbox)


@pytest.mark.report(3)
@REFUSALS
async def test_an_outer_flow_that_never_closes_it_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """An auth that drives it by sending alone leaves nothing behind when a request breaks off."""
    left_open: list[AsyncGenerator[httpx.Request, httpx.Response]] = []

    class Outer(httpx.Auth):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            inner = auth.async_auth_flow(request)
            left_open.append(inner)
            outgoing = await inner.__anext__()
            while True:
                response = yield outgoing
                try:
                    outgoing = await inner.asend(response)
                except StopAsyncIteration:
                    return

    if refusals:
        sandbox.fail(PATH, Fault.unauthorized(), times=refusals)
    sandbox.fail(PATH, Fault.reset(), times=1)
    async with httpx.AsyncClient(auth=Outer(), base_url=sandbox.base_url) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(PATH)
    assert sandbox.counters.resources == refusals + 1

    await renew_at_once(auth, sandbox)
    for flow in left_open:
        await flow.aclose()


@pytest.mark.report(4)
@REFUSALS
async def test_a_request_that_waits_for_its_answer_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """While one request, sent once or again after 401s, is not answered, others are, renewal and all."""
    if refusals:
        sandbox.fail(LONG_PATH, Fault.unauthorized(), times=refusals)
    sandbox.fail(LONG_PATH, Fault.hang())
    async with (
        httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.post, LONG_PATH)
        await sandbox.wait_until_async(lambda counters: counters.resources == refusals + 1)
        await renew_at_once(auth, sandbox)
        tasks.cancel_scope.cancel()


@pytest.mark.report(10)
@pytest.mark.report(11)
@pytest.mark.parametrize("kind", [LoggedIn, Renewed])
async def test_a_hook_may_cause_the_next_renewal(sandbox: Sandbox, kind: type[Event]) -> None:
    """A hook that hears of a new token, and whose own call meets a 401, has it renewed and goes on."""
    statuses: list[int] = []
    heard = anyio.Event()

    async def call_back(event: Event) -> None:
        if isinstance(event, kind) and not statuses:
            statuses.append((await client.post(PATH)).status_code)
            sandbox.revoke()
            statuses.append((await client.post(PATH)).status_code)
            heard.set()

    # A hook that waits for ever is given more time than this test.
    policy = RenewalPolicy(hook_timeout=3 * HANG)
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, policy=policy, on_event=call_back
    )
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()
            assert (await client.post(PATH)).status_code == 200

            await heard.wait()

    assert statuses == [200, 200]
