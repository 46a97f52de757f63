"""What a request holds while it waits for its answer: nothing."""

from __future__ import annotations

import gc
import gzip

from collections.abc import AsyncGenerator
from typing import Any

import anyio.lowlevel
import httpx
import pytest

from taxizer_async import RenewalPolicy, TaxizerAuth
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, auth_of, client_of, flow_of
from tests.support.limits import HANG


LONG_PATH = "/v1/Invoices/Export"


#: How many 401s a flow has met when it is left: it has three yields to stand at.
REFUSALS = pytest.mark.parametrize("refusals", [0, 1, 2])


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    """Return one that gives up on no token, so that a flow reaches its last yield."""
    return auth_of(sandbox, policy=RenewalPolicy(refused_interval=1e-6, unauthorized_budget=9))


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
    async with client_of(auth) as client:
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200
    assert sandbox.counters.exchanges == before + 1


@pytest.mark.invariant(2)
@pytest.mark.report(1)
@REFUSALS
async def test_a_flow_that_another_task_closes_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """A flow that is closed at a yield by another task holds nothing."""
    flows: list[AsyncGenerator[httpx.Request, httpx.Response]] = []

    async def begin_it() -> None:
        flows.append(await begin(auth, sandbox, refusals))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_it)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flows[0].aclose)

    await renew_at_once(auth, sandbox)


@pytest.mark.invariant(2)
@pytest.mark.report(2)
# This is what trio thinks of a generator that is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@REFUSALS
async def test_a_flow_that_nobody_closes_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """A flow that is dropped at a yield, and ended by the garbage collector, holds nothing."""

    async def begin_and_drop() -> None:
        await begin(auth, sandbox, refusals)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin_and_drop)
    gc.collect()
    # The hooks of the event loop close it in a task of their own.
    for _ in range(10):
        await anyio.lowlevel.checkpoint()

    await renew_at_once(auth, sandbox)


@pytest.mark.invariant(2)
@pytest.mark.report(3)
@REFUSALS
async def test_an_outer_flow_that_never_closes_it_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """A flow that its outer auth never closes holds nothing after its request failed."""
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


@pytest.mark.invariant(2)
@pytest.mark.report(4)
@REFUSALS
async def test_a_request_that_waits_for_its_answer_blocks_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, refusals: int
) -> None:
    """While one request waits for its answer, others are answered, even through a renewal."""
    if refusals:
        sandbox.fail(LONG_PATH, Fault.unauthorized(), times=refusals)
    sandbox.fail(LONG_PATH, Fault.hang())
    async with client_of(auth) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.post, LONG_PATH)
        await sandbox.wait_until_async(lambda counters: counters.resources == refusals + 1)
        await renew_at_once(auth, sandbox)
        tasks.cancel_scope.cancel()


@pytest.mark.invariant(18)
@pytest.mark.report(8, 9)
async def test_a_login_through_the_authenticated_client_does_not_recurse(sandbox: Sandbox) -> None:
    """An http_client that returns a client with the same auth causes one login."""

    def client_with_auth() -> httpx.AsyncClient:
        return httpx.AsyncClient(auth=auth)

    auth = auth_of(sandbox, http_client=client_with_auth)
    async with client_of(auth) as client:
        assert (await client.post(PATH)).status_code == 200
        sandbox.revoke()
        sandbox.fail("refresh", Fault.status(401), times=1)
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)
    assert not any(entry.had_authorization_header for entry in sandbox.exchange_log)


@pytest.mark.invariant(15)
@pytest.mark.report(96)
async def test_a_401_is_read_before_anything_is_waited_for(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """The body of a 401 is consumed before the renewal starts, so that its connection is free."""
    flow = flow_of(auth)
    sent = await flow.__anext__()
    read_at: list[int] = []

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            read_at.append(sandbox.counters.refreshes)
            yield b"no"

    await flow.asend(httpx.Response(401, request=sent, stream=Body()))
    await flow.aclose()

    assert read_at == [0]
    assert sandbox.counters.refreshes == 1


LONG = b"no " * 200_000


@pytest.mark.invariant(15)
@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("identity", b"no", b"no"),
        ("gzip", gzip.compress(b"no"), b"no"),
        ("identity", gzip.compress(b"no"), gzip.compress(b"no")),
        ("identity", LONG, LONG),
    ],
    ids=["plain", "compressed", "an-archive", "long"],
)
async def test_what_was_read_of_a_401_is_its_content(
    auth: TaxizerAuth, encoding: str, body: bytes, content: bytes
) -> None:
    """A 401 that was cured has its body as content; of a long one, as much as was read."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield body

    flow = flow_of(auth)
    sent = await flow.__anext__()
    headers = {"Content-Encoding": encoding}
    refused = httpx.Response(401, headers=headers, request=sent, stream=Body())
    await flow.asend(refused)
    await flow.aclose()

    assert refused.content == content
