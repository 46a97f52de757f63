"""Whose login it is: nobody's, so callers may leave, loops may end, and none of it costs others anything."""

from __future__ import annotations

import asyncio
import time

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import Credentials, CredentialsRejectedError, RenewalPolicy, Renewed, TaxizerAuth
from taxizer_async.testing import Fault, ManualClock
from tests.support.limits import HANG
from tests.support.refreshes import settle


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import Event
    from taxizer_async.testing import Sandbox


PATH = "/v1/Devices/Register"
#: Of a token of 900 s.
DUE, LIFETIME = 730.0, 900.0


@pytest.mark.report(103)
async def test_endpoints_that_hang_cost_nothing_ahead_of_need(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """While the renewal hangs, impatient requests one after the other all succeed."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await client.post(PATH)
        clock.advance(DUE)
        with sandbox.hold("refresh") as gate:
            for _ in range(20):
                with anyio.fail_after(HANG):
                    assert (await client.post(PATH)).status_code == 200
            await gate.wait_until_async(1)
            assert gate.waiting == 1
        await settle(auth._bearer.provider)

    assert sandbox.counters.exchanges == 2


@pytest.mark.report(109)
async def test_a_token_that_dies_under_its_renewal_gets_a_full_one(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """One attempt ahead of need that fails is no answer for callers without a token."""
    policy = RenewalPolicy(must_renew=1.0)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, policy=policy)
    statuses: list[int] = []

    async def send() -> None:
        statuses.append((await client.post(PATH)).status_code)

    sandbox.fail("refresh", Fault.status(503))
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        await client.post(PATH)
        clock.advance(LIFETIME - 10)
        async with anyio.create_task_group() as tasks:
            with sandbox.hold("refresh") as gate:
                await client.post(PATH)
                await gate.wait_until_async(1)
                clock.advance(11)
                sandbox.fail("connect", Fault.status(503), times=2)
                for _ in range(20):
                    tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()

    assert statuses == [200] * 20


@pytest.mark.report(113)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(503),
        Fault.status(429),
        Fault.status(500),
        Fault.junk(b"<html>", status=200),
        pytest.param(Fault.hang(), marks=pytest.mark.slow),
    ],
    ids=["503", "429", "500", "html", "hang"],
)
async def test_an_outage_of_the_refresh_endpoint_fails_nobody(
    sandbox: Sandbox, clock: ManualClock, fault: Fault
) -> None:
    """Over 60 s of tokens of 3 s each request succeeds, as logins take the place of renewals."""
    sandbox.lifetime = 3.0
    sandbox.fail("refresh", fault)
    policy = RenewalPolicy(attempt_timeout=1.0) if fault == Fault.hang() else RenewalPolicy()
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, policy=policy)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(120):
            assert (await client.post(PATH)).status_code == 200
            await settle(auth._bearer.provider)
            clock.advance(0.5)

    assert sandbox.counters.refreshes <= 2
    assert sandbox.counters.unauthorized == 0


@pytest.mark.report(114)
async def test_tokens_of_the_refresh_endpoint_that_never_work_lead_to_a_login(
    sandbox: Sandbox,
) -> None:
    """A request that is refused twice succeeds by a login, and AppRefreshToken is asked no more."""

    def refuse_what_was_renewed(event: Event) -> None:
        if isinstance(event, Renewed):
            sandbox.revoke()

    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, on_event=refuse_what_was_renewed
    )
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(3):
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (3, 1)


@pytest.mark.report(125)
async def test_forget_forgets_failures(sandbox: Sandbox, clock: ManualClock) -> None:
    """After a refused pair the next request asks the server."""
    sandbox.fail("connect", Fault.status(400), times=1)
    auth = TaxizerAuth(
        Credentials(sandbox.client_id, sandbox.credentials.client_secret),
        base_url=sandbox.base_url,
        clock=clock,
    )
    with pytest.raises(CredentialsRejectedError):
        await auth.token()
    await auth.forget()

    await auth.token()
    assert sandbox.counters.connects == 2


def test_short_programs_finish_the_renewal_that_they_begin(
    sandbox: Sandbox,
    make_runner: Callable[[], asyncio.Runner | None],
    anyio_backend: tuple[str, Any],
) -> None:
    """Of many loops that come and go while a renewal is due, one renews, and it is not cut off."""
    clock = ManualClock(start=time.time())
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock)

    async def send() -> None:
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            assert (await client.post(PATH)).status_code == 200

    def run() -> None:
        runner = make_runner()
        if runner is None:
            anyio.run(send, backend=anyio_backend[0])
        else:
            with runner:
                runner.run(send())

    run()
    clock.advance(DUE)
    sandbox.refresh_latency = 0.3
    for _ in range(20):
        run()

    assert (sandbox.counters.connects, sandbox.counters.refreshes_ok) == (1, 1)


def _uvloop() -> asyncio.Runner:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this platform")
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@pytest.fixture(name="make_runner", params=[lambda: None, _uvloop], ids=["anyio", "uvloop"])
def _make_runner(request: pytest.FixtureRequest) -> Callable[[], asyncio.Runner | None]:
    make: Callable[[], asyncio.Runner | None] = request.param
    return make
