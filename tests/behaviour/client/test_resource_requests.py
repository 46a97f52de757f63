"""What the auth does to a user's requests, and what it keeps out of their sight."""

from __future__ import annotations

import pickle

from typing import Any

import anyio
import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.limits import HANG
from tests.support.onlooker import Onlooker

from .libraries import Library


async def test_a_default_header_of_the_clients_is_replaced(
    sandbox: Sandbox, library: Library, onlooker: Onlooker
) -> None:
    """The token wins over the client's default Authorization and over a name in the URL."""
    async with library.taxizer_client(
        sandbox, extra_origins=[onlooker.url], headers={"Authorization": "Bearer mine"}
    ) as client:
        await client.get(onlooker.url.replace("//", "//user:password@"))

    assert onlooker.authorizations() == [[f"Bearer {sandbox.issued_jwts[0]}"]]


@pytest.mark.invariant(18)
@pytest.mark.report(44, 95)
async def test_an_exchange_is_not_seen_by_the_users_client(
    sandbox: Sandbox, library: Library
) -> None:
    """Logins pass no event hook, are in no history or pickle, and need no connection of the pool."""
    seen: list[str] = []

    async def before(request: Any) -> None:
        seen.append(request.url.path)

    async def after(response: Any) -> None:
        seen.append(f"{response.request.url.path} {response.status_code}")

    async with library.taxizer_client(
        sandbox,
        event_hooks={"request": [before], "response": [after]},
        limits=library.module.Limits(max_connections=1),
    ) as client:
        first = await client.get("/v1/a")
        sandbox.revoke()
        second = await client.get("/v1/b")
        async with client.stream("GET", "/v1/stream"):
            await client.auth.forget()
            with anyio.fail_after(HANG):
                await client.auth.token()

    assert seen[:6] == ["/v1/a", "/v1/a 200", "/v1/b", "/v1/b 401", "/v1/b", "/v1/b 200"]
    assert sandbox.counters.exchanges == 3
    assert [past.request.url.path for past in (*first.history, *second.history)] == ["/v1/b"]
    for response in (first, second):
        shown = pickle.dumps(response).decode("latin-1") + str(vars(response))
        for secret in (*sandbox.issued_refresh_tokens, "sandbox-secret"):
            assert secret not in shown


async def test_a_redirect_from_elsewhere_brings_no_token(
    sandbox: Sandbox, library: Library
) -> None:
    """A foreign server that redirects to the API can't make the client send the token."""
    foreign = sandbox.base_url.replace("127.0.0.1", "localhost")
    to = {"Location": f"{sandbox.base_url}/v1/x"}
    sandbox.fail("/v1/away", Fault.status(302, headers=to))
    async with library.taxizer_client(sandbox, follow_redirects=True) as client:
        await client.auth.token()
        answer = await client.get(f"{foreign}/v1/away")

    assert answer.status_code == 401
    assert [entry.jwt_id for entry in sandbox.resource_log] == [None, None]
    assert sandbox.counters.exchanges == 1
