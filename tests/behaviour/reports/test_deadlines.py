"""A login has limits of its own, whatever the requests that need it are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import (
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import Fault
from tests.support.limits import HANG


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


PATH = "/v1/Devices/Register"
IMPATIENT = RenewalPolicy(attempt_timeout=0.2, exchange_timeout=0.5)


@pytest.mark.report(36)
@pytest.mark.parametrize("where", ["connect", "refresh"])
async def test_a_hung_token_endpoint_holds_nobody(sandbox: Sandbox, where: str) -> None:
    """Twenty callers of an endpoint that never answers get a typed error within its limit."""
    store = MemoryTokenStore()
    auth = TaxizerAuth(
        sandbox.credentials, base_url=sandbox.base_url, store=store, policy=IMPATIENT
    )
    if where == "refresh":
        # One that has time to log in.
        await TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store).token()
        await auth.token()
        sandbox.revoke()
        sandbox.fail("refresh", Fault.hang())
    sandbox.fail("connect", Fault.hang())
    errors: list[Exception] = []

    async def send() -> None:
        with pytest.raises(TokenEndpointUnavailableError) as caught:
            await client.post(PATH)
        errors.append(caught.value)

    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url, timeout=60) as client:
        with anyio.fail_after(HANG):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(send)

    assert len({id(error) for error in errors}) == 20


@pytest.mark.report(38)
async def test_a_slow_login_is_not_cut_short_by_a_requests_timeout(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """As is documented, a login that takes longer than the request's own timeout is waited for."""
    sandbox.connect_latency = 1.5
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        answer = await client.post(PATH, timeout=1.0)

    assert answer.status_code == 200
    assert sandbox.counters.connects == 1


@pytest.mark.report(38)
async def test_a_limit_of_the_callers_covers_the_login(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A limit around a call ends a login that it waits for, and later calls succeed."""
    with sandbox.hold("connect"):
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            began = anyio.current_time()
            with pytest.raises(TimeoutError), anyio.fail_after(0.2):
                await client.post(PATH)
            took = anyio.current_time() - began
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH)).status_code == 200

    # The login by itself would be given up after 10 s.
    assert took < 8
