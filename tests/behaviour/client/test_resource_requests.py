"""What the auth does to a user's requests, and what it keeps out of their sight."""

from __future__ import annotations

import pickle

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import RenewalPolicy, TaxizerAuth, TaxizerClient, TokenRefused
from taxizer_async.testing import Fault
from tests.support.limits import HANG


if TYPE_CHECKING:
    from taxizer_async import Event
    from taxizer_async.testing import Sandbox
    from tests.support.onlooker import Onlooker


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer mine"},
        {"authorization": "Basic bWluZQ=="},
        [("Authorization", "Bearer one"), ("AUTHORIZATION", "Bearer two")],
    ],
)
async def test_the_token_is_carried_exactly_once(
    sandbox: Sandbox, onlooker: Onlooker, headers: Any
) -> None:
    """A request has one Authorization header, ours, in place of any of the user's."""
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, extra_origins=[onlooker.url]
    ) as client:
        await client.get(f"{onlooker.url}/v1/x", headers=headers)

    assert onlooker.authorizations() == [[f"Bearer {sandbox.issued_jwts[0]}"]]


async def test_a_default_header_of_the_clients_is_replaced(
    sandbox: Sandbox, onlooker: Onlooker
) -> None:
    """The token wins over the client's default Authorization and over a name in the URL."""
    async with TaxizerClient(
        sandbox.credentials,
        base_url=sandbox.base_url,
        extra_origins=[onlooker.url],
        headers={"Authorization": "Bearer mine"},
    ) as client:
        await client.get(onlooker.url.replace("//", "//user:password@"))

    assert onlooker.authorizations() == [[f"Bearer {sandbox.issued_jwts[0]}"]]


@pytest.mark.report(20)
async def test_a_resent_request_carries_the_new_token_once(
    sandbox: Sandbox, onlooker: Onlooker
) -> None:
    """After a 401 the header is built anew, not added to."""
    onlooker.status = 401
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, extra_origins=[onlooker.url]
    ) as client:
        answer = await client.get(f"{onlooker.url}/v1/x")

    assert answer.status_code == 401
    assert onlooker.authorizations() == [[f"Bearer {jwt}"] for jwt in sandbox.issued_jwts]
    assert len(sandbox.issued_jwts) == 3


async def test_event_hooks_see_no_exchange(sandbox: Sandbox) -> None:
    """The hooks of the user's client are called for its own requests only."""
    paths: list[str] = []

    async def before(request: httpx.Request) -> None:
        paths.append(request.url.path)

    async def after(response: httpx.Response) -> None:
        paths.append(f"{response.request.url.path} {response.status_code}")

    async with TaxizerClient(
        sandbox.credentials,
        base_url=sandbox.base_url,
        event_hooks={"request": [before], "response": [after]},
    ) as client:
        await client.get("/v1/a")
        sandbox.revoke()
        await client.get("/v1/b")

    assert sandbox.counters.exchanges == 2
    assert paths == ["/v1/a", "/v1/a 200", "/v1/b", "/v1/b 401", "/v1/b", "/v1/b 200"]


@pytest.mark.report(44)
async def test_the_history_holds_no_exchange(sandbox: Sandbox) -> None:
    """A response's history and pickle have nothing of a login or a renewal."""
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        first = await client.get("/v1/a")
        sandbox.revoke()
        second = await client.get("/v1/b")

    assert first.history == []
    assert all("/v1/Auth/" not in str(past.request.url) for past in second.history)
    secrets = (*sandbox.issued_refresh_tokens, "sandbox-secret")
    for response in (first, second):
        for secret in secrets:
            assert secret.encode() not in pickle.dumps(response)
            assert secret not in str(vars(response))


@pytest.mark.report(95)
async def test_an_exchange_needs_no_connection_of_the_users(sandbox: Sandbox) -> None:
    """With the only connection of the pool taken by an endless answer a login still works."""
    async with (
        TaxizerClient(
            sandbox.credentials,
            base_url=sandbox.base_url,
            limits=httpx.Limits(max_connections=1),
        ) as client,
        client.stream("GET", "/v1/stream") as stream,
    ):
        assert stream.status_code == 200
        await client.auth.forget()
        with anyio.fail_after(HANG):
            await client.auth.token()

    assert sandbox.counters.connects == 2


@pytest.mark.report(96)
async def test_a_401_frees_its_connection_while_a_renewal_is_waited_for(sandbox: Sandbox) -> None:
    """With one connection in the pool another request gets through while the token is renewed."""
    async with TaxizerClient(
        sandbox.credentials,
        base_url=sandbox.base_url,
        limits=httpx.Limits(max_connections=1),
    ) as client:
        await client.get("/v1/x")
        sandbox.revoke()
        with sandbox.hold("refresh") as gate:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, "/v1/x")
                await gate.wait_until_async(1)
                with anyio.fail_after(HANG):
                    other = await client.get("/v1/y", auth=None)
                gate.release()

    assert other.status_code == 401
    assert [entry.status for entry in sandbox.resource_log] == [200, 401, 401, 200]


@pytest.mark.report(96)
async def test_a_401_is_read_before_a_hook_is_waited_for(sandbox: Sandbox) -> None:
    """A hook that sends a request of its own is not starved by the 401 that it hears of."""
    statuses: list[int] = []

    async def call_back(event: Event) -> None:
        if isinstance(event, TokenRefused):
            answer = await client.get("/v1/callback", timeout=HANG)
            statuses.append(answer.status_code)

    async with TaxizerClient(
        sandbox.credentials,
        base_url=sandbox.base_url,
        limits=httpx.Limits(max_connections=1),
        policy=RenewalPolicy(hook_timeout=3 * HANG),
        on_event=call_back,
    ) as client:
        await client.get("/v1/x")
        sandbox.revoke()
        answer = await client.get("/v1/x")
        await client.auth.events_delivered()

    assert answer.status_code == 200
    assert statuses == [200]


@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_other_failures_are_the_users(sandbox: Sandbox, status: int) -> None:
    """Only a 401 is about the token: all else is handed back untouched, and nothing renewed."""
    sandbox.fail("resource", Fault.status(status))
    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        answer = await client.get("/v1/x")

    assert answer.status_code == status
    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (1, 1)


async def test_a_401_for_lack_of_scope_renews_nothing(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A challenge with insufficient_scope is handed back: a new token would lack it as well."""
    sandbox.fail("resource", Fault.unauthorized('Bearer error="insufficient_scope"'))
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        answer = await client.get("/v1/x")

    assert answer.status_code == 401
    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (1, 1)
