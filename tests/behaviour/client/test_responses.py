"""What a response says of the requests behind it, as the library's own auth would have it."""

from __future__ import annotations

from typing import Any

import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH

from .libraries import Library


def statuses_of_history(response: Any) -> list[int]:
    return [each.status_code for each in response.history]


def require_nested(response: Any) -> None:
    """Require that *response* came after two 401s, each of which knows what was before it."""
    assert response.status_code == 200
    assert statuses_of_history(response) == [401, 401]
    assert [statuses_of_history(each) for each in response.history] == [[], [401]]
    assert response.history[1].history == response.history[:1]


async def test_each_401_in_a_history_has_those_before_it(
    sandbox: Sandbox, library: Library
) -> None:
    """The history has each cured 401, and each of these has the ones before it."""
    sandbox.fail(PATH, Fault.unauthorized(), times=2)
    async with library.taxizer_client(sandbox) as client:
        require_nested(await client.post(PATH, content=b"invoice"))


def test_each_401_in_a_sync_history_has_those_before_it(sandbox: Sandbox, library: Library) -> None:
    """The sync client's history is the async client's."""
    sandbox.fail(PATH, Fault.unauthorized(), times=2)
    with library.sync_taxizer_client(sandbox) as client:
        require_nested(client.post(PATH, content=b"invoice"))


async def test_an_answer_at_once_has_no_history(sandbox: Sandbox, library: Library) -> None:
    """The login before a request, and the renewal after it, are in no history."""
    async with library.taxizer_client(sandbox) as client:
        first = await client.get(PATH)
        await client.auth.forget()
        second = await client.get(PATH)

    assert sandbox.counters.exchanges == 2
    assert first.history == second.history == []


@pytest.mark.invariant(20)
async def test_the_token_is_masked_in_what_a_request_shows(
    sandbox: Sandbox, library: Library
) -> None:
    """The headers of a request, before and after a 401, show `[secure]` in place of the token."""
    sandbox.fail(PATH, Fault.unauthorized(), times=1)
    async with library.taxizer_client(sandbox) as client:
        response = await client.get(PATH)

    for each in (response, *response.history):
        shown = f"{each.request.headers!r} {each.request!r} {each!r}"
        assert "'authorization': '[secure]'" in shown
        assert not any(jwt in shown for jwt in sandbox.issued_jwts)


async def test_an_auth_serves_a_single_request(sandbox: Sandbox, library: Library) -> None:
    """An auth that is given with single requests logs in once for all of them, and for no other request."""
    auth = library.auth(sandbox)
    async with library.module.AsyncClient(base_url=sandbox.base_url) as client:
        answers = [await client.get(PATH, auth=each) for each in (auth, auth, None)]

    assert [answer.status_code for answer in answers] == [200, 200, 401]
    assert [entry.jwt_id for entry in sandbox.resource_log] == [1, 1, None]


async def test_headers_and_cookies_are_sent_again(sandbox: Sandbox, library: Library) -> None:
    """A resent request has the headers and cookies of the first one."""
    async with library.taxizer_client(sandbox, cookies={"a": "1"}) as client:
        await client.get(PATH)
        sandbox.revoke()
        answer = await client.get("/v1/echo", headers={"X-Mine": "1"})

    headers = answer.json()["headers"]
    assert statuses_of_history(answer) == [401]
    assert (headers["cookie"], headers["x-mine"]) == ("a=1", "1")
