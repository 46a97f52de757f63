"""What is sent again after a 401 that a redirect led to."""

from __future__ import annotations

import itertools

import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH

from .libraries import Library


STATUSES = [301, 302, 303, 307, 308]
KEEPS_METHOD = (307, 308)


def to(path: str, status: int) -> Fault:
    return Fault.status(status, headers={"Location": path})


@pytest.mark.invariant(16)
@pytest.mark.report(121)
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("hops", [1, 2])
async def test_the_refused_hop_is_sent_again(
    sandbox: Sandbox, library: Library, status: int, hops: int
) -> None:
    """An invoice that was taken, and answered by redirects to its result, is not sent twice."""
    way = [PATH, "/v1/first", "/v1/second"][: hops + 1]
    for here, there in itertools.pairwise(way):
        sandbox.fail(here, to(there, status))
    sandbox.fail(way[-1], Fault.unauthorized(), times=1)
    async with library.taxizer_client(sandbox, follow_redirects=True) as client:
        response = await client.post(PATH, content=b"invoice")

    assert response.status_code == 200
    assert [entry.path for entry in sandbox.resource_log] == [*way, way[-1]]
    assert [each.status_code for each in response.history] == [status] * hops + [401]
    refused, again = sandbox.resource_log[-2:]
    assert (again.method, again.body) == (refused.method, refused.body)
    assert (again.body == b"invoice") is (status in KEEPS_METHOD)
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1] * (hops + 1) + [2]
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(16)
async def test_redirects_that_follow_are_in_the_history_too(
    sandbox: Sandbox, library: Library
) -> None:
    """The history has each redirect and each cured 401, in order."""
    sandbox.fail(PATH, to("/v1/first", 303))
    sandbox.fail("/v1/first", Fault.unauthorized(), times=1)
    sandbox.fail("/v1/first", to("/v1/second", 302))
    sandbox.fail("/v1/second", Fault.unauthorized(), times=1)
    async with library.taxizer_client(sandbox, follow_redirects=True) as client:
        response = await client.post(PATH)

    assert response.status_code == 200
    assert [each.status_code for each in response.history] == [303, 401, 302, 401]
    paths = [PATH, "/v1/first", "/v1/first", "/v1/second", "/v1/second"]
    assert [entry.path for entry in sandbox.resource_log] == paths


async def test_a_401_that_is_handed_back_keeps_its_redirects(
    sandbox: Sandbox, library: Library
) -> None:
    """A 401 that is handed back has the redirects and 401s before it in its history."""
    sandbox.fail(PATH, to("/v1/sick", 303))
    sandbox.fail("/v1/sick", Fault.unauthorized())
    async with library.taxizer_client(sandbox, follow_redirects=True) as client:
        await client.get("/v1/x")
        response = await client.post(PATH)

    assert response.status_code == 401
    assert [each.status_code for each in response.history] == [303, 401]
    assert sandbox.counters.by_path[PATH] == 1
    assert response.json()["title"] == "Unauthorized"


@pytest.mark.invariant(13)
async def test_an_acceptance_elsewhere_is_one_of_the_redirecting_place(
    sandbox: Sandbox, library: Library
) -> None:
    """A place that refused, and now redirects elsewhere, has accepted the token; the target has not."""
    other = sandbox.base_url.replace("127.0.0.1", "localhost")
    sandbox.fail(PATH, Fault.unauthorized())
    sandbox.fail("/v1/public", Fault.status(200))
    async with library.taxizer_client(sandbox, follow_redirects=True) as client:
        await client.get("/v1/x")
        assert (await client.post(PATH)).status_code == 401
        await client.get("/v1/x")
        sandbox.fail(PATH, to(f"{other}/v1/public", 302))
        assert (await client.post(PATH)).status_code == 200
        places = client.auth._bearer.cache.state.places

    assert not places.refusing
    assert not any("localhost" in place for place in places.accepting)
    assert sandbox.resource_log[-1].jwt_id is None
