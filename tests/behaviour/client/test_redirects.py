"""The token does not follow a redirect to where it does not belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async import TaxizerClient
from taxizer_async.testing import Fault


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from taxizer_async import TaxizerAuth
    from taxizer_async.testing import Sandbox
    from tests.support.onlooker import Onlooker


STATUSES = [301, 302, 303, 307, 308]


@pytest.fixture(name="client")
async def _client(sandbox: Sandbox, auth: TaxizerAuth) -> AsyncIterator[TaxizerClient]:
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, follow_redirects=True
    ) as client:
        client.auth = auth
        yield client


def redirect(to: str, status: int) -> str:
    return str(httpx.URL("/v1/redirect", params={"to": to, "status": status}))


@pytest.mark.report(63)
@pytest.mark.report(64)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_redirect_elsewhere_loses_the_token(
    sandbox: Sandbox, client: TaxizerClient, onlooker: Onlooker, status: int, host: str
) -> None:
    """Another port or host that a redirect leads to sees the token in no header of any name."""
    target = f"{onlooker.url.replace('127.0.0.1', host)}/v1/x"
    answer = await client.post(redirect(target, status), json={})

    assert answer.status_code == 200
    assert onlooker.authorizations() == [[]]
    assert sandbox.issued_jwts[0] not in str(onlooker.seen[0])
    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_a_401_from_elsewhere_renews_nothing(
    sandbox: Sandbox, client: TaxizerClient, onlooker: Onlooker, status: int
) -> None:
    """A 401 of a server that never got the token is handed back, and the token stays good."""
    onlooker.status = 401
    answer = await client.post(redirect(f"{onlooker.url}/v1/x", status), json={})

    assert answer.status_code == 401
    assert len(onlooker.seen) == 1
    assert (await client.get("/v1/x")).status_code == 200
    assert sandbox.counters.exchanges == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_a_redirect_within_the_origin_keeps_the_token(
    sandbox: Sandbox, client: TaxizerClient, status: int
) -> None:
    """A redirect to another path of the API arrives there with the token."""
    answer = await client.get(redirect("/v1/echo", status))

    assert answer.status_code == 200
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1]


async def test_a_401_after_a_redirect_within_the_origin_is_renewed(
    sandbox: Sandbox, client: TaxizerClient
) -> None:
    """A revoked token is renewed though the 401 came after a redirect, and all is sent again."""
    await client.get("/v1/x")
    sandbox.fail("/v1/redirect", _redirect_whatever_the_token("/v1/echo"))
    sandbox.revoke()
    answer = await client.get("/v1/redirect")

    assert answer.status_code == 200
    assert sandbox.counters.refreshes == 1


async def test_a_redirect_from_elsewhere_brings_no_token(
    sandbox: Sandbox, client: TaxizerClient
) -> None:
    """A foreign server that redirects to the API can't make the client send the token."""
    await client.auth.token()
    foreign = sandbox.base_url.replace("127.0.0.1", "localhost")
    sandbox.fail("/v1/away", _redirect_whatever_the_token(f"{sandbox.base_url}/v1/x"))
    answer = await client.get(f"{foreign}/v1/away")

    assert answer.status_code == 401
    assert [entry.jwt_id for entry in sandbox.resource_log] == [None, None]
    assert sandbox.counters.exchanges == 1


async def test_a_redirect_that_is_not_followed_is_handed_back(
    sandbox: Sandbox, auth: TaxizerAuth, onlooker: Onlooker
) -> None:
    """Without follow_redirects, httpx's default, the redirect is the answer."""
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        answer = await client.get(redirect(onlooker.url, 307))

    assert answer.status_code == 307
    assert onlooker.seen == []


def _redirect_whatever_the_token(to: str) -> Fault:
    return Fault.status(302, headers={"Location": to})
