"""Nothing secret is seen while all goes well."""

from __future__ import annotations

import asyncio
import copy
import pickle
import re

import attrs
import httpx
import pytest
import sniffio

from taxizer_async import Credentials, Event, MemoryTokenStore, Renewed, TaxizerAuth, TaxizerClient
from taxizer_async.testing import Sandbox
from tests.support.callers import auth_of
from tests.support.canaries import Exposed, canaries_of


@pytest.mark.invariant(20)
@pytest.mark.report(66)
async def test_nothing_is_seen_of_a_life_without_trouble(
    sandbox: Sandbox, exposed: Exposed, events: list[Event]
) -> None:
    """Login, requests, a renewal after a 401, a logout and a new login show no canary."""
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, on_event=events.append
    ) as client:
        shown: list[object] = [client.auth, client.auth.status()]
        answers = [await client.post("/v1/Devices/Register", json={})]
        shown += [client.auth, client.auth.status(), await client.auth.token()]
        sandbox.revoke()
        answers.append(await client.get("/v1/echo"))
        await client.auth.events_delivered()
        shown += [client.auth, client.auth.status(), await client.auth.token(), *events]
        await client.auth.forget()
        answers.append(await client.get("/v1/echo"))
        await client.auth.events_delivered()
        shown += [client, client.auth, client.auth.status(), sandbox.credentials, *events]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert any(isinstance(event, Renewed) for event in events)
    assert len(sandbox.issued_jwts) == len(sandbox.issued_refresh_tokens) == 3
    assert exposed(*shown) == []


async def test_the_canaries_would_be_seen(sandbox: Sandbox, exposed: Exposed) -> None:
    """The search finds each canary wherever it is."""
    auth = auth_of(sandbox)
    await auth.token()
    canaries = canaries_of(sandbox)
    assert len(canaries) == 4

    def fail(value: str) -> None:
        raise ValueError(value)

    for canary in canaries:
        with pytest.raises(ValueError, match=re.escape(canary)) as caught:
            fail(canary)
        assert len(exposed(caught.value)) >= 5
        assert exposed({"a": [canary]}) != []


@pytest.mark.report(66)
async def test_httpx_and_httpcore_do_log(
    sandbox: Sandbox, log: list[tuple[str, str]], exposed: Exposed
) -> None:
    """The log that is searched holds the lines of all libraries that carry a login."""
    auth = auth_of(sandbox)
    await auth.token()

    names = {name.partition(".")[0] for name, _ in log}
    assert {"taxizer_async", "httpx", "httpcore"} <= names
    assert exposed() == []


async def test_a_debugging_event_loop_shows_nothing(sandbox: Sandbox, exposed: Exposed) -> None:
    """With asyncio's debug mode on, which logs slow callbacks with their arguments, nothing is seen."""
    if sniffio.current_async_library() == "asyncio":
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0
    auth = auth_of(sandbox)
    async with httpx.AsyncClient(auth=auth) as client:
        await client.get(f"{sandbox.base_url}/v1/x")
    if sniffio.current_async_library() == "asyncio":
        loop.set_debug(False)

    assert exposed(auth) == []


@pytest.mark.invariant(20)
@pytest.mark.report(68, 92)
@pytest.mark.usefixtures("environment")
async def test_a_pickled_auth_shows_nothing(sandbox: Sandbox, exposed: Exposed) -> None:
    """The pickle of an auth with a token, and of its store, has neither token nor secret."""
    store = MemoryTokenStore()
    auth = TaxizerAuth(Credentials.from_env, base_url=sandbox.base_url, store=store)
    await auth.token()
    pickles = [pickle.dumps(auth, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]

    assert exposed(*pickles, pickle.dumps(store), copy.deepcopy(auth)) == []


@pytest.mark.invariant(20)
async def test_a_refused_pickle_shows_nothing(sandbox: Sandbox, exposed: Exposed) -> None:
    """The error of pickling what holds a secret does not show it."""
    auth = auth_of(sandbox)
    token = await auth.token()
    for thing in (auth, token, token.jwt, sandbox.credentials):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(thing)
        assert exposed(caught.value) == []


@pytest.mark.invariant(20)
@pytest.mark.report(68, 69)
async def test_values_that_are_taken_apart_show_nothing(
    sandbox: Sandbox, exposed: Exposed, events: list[Event]
) -> None:
    """attrs.asdict and astuple of tokens, credentials, status and events show no canary."""
    auth = auth_of(sandbox, on_event=events.append)
    token = await auth.token()
    await auth.events_delivered()
    values = [token, sandbox.credentials, auth.status(), *events]
    apart = [take(value) for value in values for take in (attrs.asdict, attrs.astuple)]

    assert exposed(*apart) == []
