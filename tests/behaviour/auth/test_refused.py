"""`refused`: how users of `token()` report a refusal that they see elsewhere."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import httpx
import pytest

from taxizer_async import ConfigurationError, TaxizerAuth, Token
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import ONE_TRY


PLACE = "GET wss://taxizer.test/v1/feed"


async def test_what_is_no_token_is_told(auth: TaxizerAuth) -> None:
    """A JWT instead of its token is a mistake of the caller's, whose value no message shows."""
    jwt: Any = (await auth.token()).jwt.reveal()
    complaint = "token must be a Token, as token\\(\\) returns it, not str"
    with pytest.raises(ConfigurationError, match=complaint):
        await auth.refused(jwt)
    with pytest.raises(ConfigurationError, match=complaint):
        auth.sync_refused(jwt)


@pytest.mark.report(126)
async def test_all_reports_about_a_token_share_one_renewal(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """Twenty workers that see the same revocation get the same new token from one exchange."""
    token = await auth.token()
    sandbox.revoke()
    sandbox.refresh_latency = 0.05
    found: list[Token | None] = []

    async def tell() -> None:
        found.append(await auth.refused(token))

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(tell)

    new = await auth.token()
    assert found == [new] * 20
    assert new.jwt != token.jwt
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.report(126)
async def test_a_token_of_another_time_costs_nothing(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A report about a token that was replaced since is answered with the one in use."""
    old = await auth.token()
    new = await auth.refused(old)

    assert await auth.refused(old) == new == await auth.token()
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(126)
async def test_a_place_that_refuses_what_others_accept_gets_no_other(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A place that refuses a second token gets None, and the token stays good for others."""
    async with client_of(auth) as client:
        await client.get("/v1/x")
        second = await auth.refused(await auth.token(), place=PLACE)
        assert second is not None
        await client.get("/v1/x")
        for _ in range(5):
            assert await auth.refused(second, place=PLACE) is None
        assert await auth.token() == second
        assert (await client.get("/v1/x")).status_code == 200

    assert sandbox.counters.exchanges == 2


@pytest.mark.report(126)
@pytest.mark.parametrize("status", [503, 401])
async def test_it_raises_nothing(sandbox: Sandbox, status: int) -> None:
    """`refused` returns None if no other token can be had, now or ever."""
    auth = auth_of(sandbox, policy=ONE_TRY)
    token = await auth.token()
    sandbox.revoke()
    sandbox.fail("connect", Fault.status(status))
    sandbox.fail("refresh", Fault.status(status))

    with anyio.fail_after(HANG):
        assert await auth.refused(token) is None
        assert await auth.refused(token) is None
    assert auth.status().last_error is not None


@pytest.mark.report(126)
async def test_it_waits_for_one_renewal(sandbox: Sandbox) -> None:
    """If the renewal fails, `refused` returns None, though the next try may be made at once."""
    policy = attrs.evolve(ONE_TRY, outage_backoff=1e-6, outage_backoff_limit=1e-6)
    auth = auth_of(sandbox, policy=policy)
    token = await auth.token()
    sandbox.revoke()
    sandbox.fail("refresh", Fault.status(503), times=1)
    sandbox.fail("connect", Fault.status(503), times=1)

    assert await auth.refused(token) is None
    assert sandbox.counters.exchanges == 3


@pytest.mark.report(126)
@pytest.mark.parametrize("trouble", [None, "server", "http_client"])
async def test_after_forget_it_logs_in(sandbox: Sandbox, trouble: str | None) -> None:
    """A forgotten token is replaced by a login; if that fails `refused` returns None."""
    is_broken = False

    def http_client() -> httpx.AsyncClient:
        return None if is_broken else httpx.AsyncClient()  # type: ignore[return-value]

    auth = auth_of(sandbox, policy=ONE_TRY, http_client=http_client)
    token = await auth.token()
    await auth.forget()
    if trouble is not None:
        is_broken = trouble == "http_client"
        sandbox.fail("connect", Fault.status(503))
        assert await auth.refused(token) is None
        return

    new = await auth.refused(token)
    assert new == await auth.token() != token
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)
