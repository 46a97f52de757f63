"""One Request object that is sent more than once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH
from tests.support.limits import HANG
from tests.support.onlooker import Onlooker

from .libraries import Library


BODIES: list[dict[str, Any]] = [{"content": b"invoice"}, {"files": {"f": b"invoice"}}]


@pytest.mark.invariant(16, 18)
@pytest.mark.report(127)
@pytest.mark.parametrize("body", BODIES, ids=["bytes", "multipart"])
async def test_it_may_be_sent_many_times_at_once_over_a_revocation(
    sandbox: Sandbox, library: Library, body: dict[str, Any]
) -> None:
    """A request object that is sent many times at once over a revocation succeeds each time."""
    statuses: list[int] = []
    async with library.taxizer_client(sandbox) as client:
        await client.get("/v1/x")
        request = client.build_request("POST", PATH, **body)

        async def send() -> None:
            statuses.append((await client.send(request)).status_code)

        for _ in range(2):
            # Half of the 401s come when the others are over, and the token is another.
            sandbox.fail(PATH, Fault.hang(0.3), times=10)
            with anyio.fail_after(HANG):
                async with anyio.create_task_group() as tasks:
                    with sandbox.hold(PATH) as gate:
                        for _ in range(20):
                            tasks.start_soon(send)
                        await gate.wait_until_async(20)
                        sandbox.revoke()

    assert statuses == [200] * 40
    assert sandbox.counters.exchanges == 3
    assert {entry.body for entry in sandbox.resource_log[1:]} == {request.read()}


@pytest.mark.invariant(18)
@pytest.mark.report(127)
async def test_it_leaves_the_token_behind_when_it_is_given_another_hosts_url(
    sandbox: Sandbox, library: Library, onlooker: Onlooker
) -> None:
    """A request object that was sent to the API carries no token when it is sent elsewhere."""
    async with library.taxizer_client(sandbox) as client:
        request = client.build_request("POST", PATH, content=b"invoice")
        assert (await client.send(request)).status_code == 200
        home = request.url
        request.url = library.module.URL(f"{onlooker.url}/v1/x")
        assert (await client.send(request)).status_code == 200
        request.url = home
        assert (await client.send(request)).status_code == 200

    assert onlooker.authorizations() == [[]]
    assert sandbox.issued_jwts[0] not in str(onlooker.seen[0])
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1]


async def test_a_header_of_the_users_own_stays_where_the_token_may_not_go(
    sandbox: Sandbox, library: Library, onlooker: Onlooker
) -> None:
    """An Authorization that the user sets after a send is sent to another origin unchanged."""
    async with library.taxizer_client(sandbox) as client:
        request = client.build_request("POST", PATH)
        await client.send(request)
        request.url = library.module.URL(f"{onlooker.url}/v1/x")
        request.headers["Authorization"] = "Basic bWluZQ=="
        await client.send(request)

    assert onlooker.authorizations() == [["Basic bWluZQ=="]]


@pytest.mark.invariant(16, 18)
@pytest.mark.report(127)
async def test_two_tenants_may_share_it_at_once(sandbox: Sandbox, library: Library) -> None:
    """A request object that two clients send at once has each client's own token."""
    statuses: dict[str, list[int]] = {"one": [], "two": []}
    with Sandbox(client_id="other", client_secret="another") as other:
        mine = library.auth(sandbox)
        theirs = library.auth(other, extra_origins=[sandbox.base_url])
        await mine.token()
        await theirs.token()
        async with library.plain_client(mine) as one, library.plain_client(theirs) as two:
            request = one.build_request("POST", PATH, content=b"invoice")

            async def send(name: str, client: Any) -> None:
                statuses[name].append((await client.send(request)).status_code)

            with anyio.fail_after(HANG):
                async with anyio.create_task_group() as tasks:
                    with sandbox.hold(PATH) as gate:
                        for _ in range(5):
                            tasks.start_soon(send, "one", one)
                            tasks.start_soon(send, "two", two)
                        await gate.wait_until_async(10)
                        sandbox.revoke()

    # The other tenant's token is none of this server's.
    assert statuses == {"one": [200] * 5, "two": [401] * 5}
    accepted = [entry.jwt_id for entry in sandbox.resource_log if entry.status == 200]
    assert accepted == [2] * 5
    assert sandbox.counters.exchanges == 2
