"""Response hooks that raise, below the auth, on a 401 that it would have cured."""

from __future__ import annotations

import math

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH
from tests.support.limits import HANG

from .libraries import Library


Hook = Callable[[Any], Awaitable[None]]


class OwnError(Exception):
    """An error of the user's own library."""


async def raise_for_status(response: Any) -> None:
    response.raise_for_status()


async def raise_own(response: Any) -> None:
    try:
        response.raise_for_status()
    except (httpx.HTTPStatusError, httpx2.HTTPStatusError) as error:
        raise OwnError from error


async def raise_own_in_its_place(response: Any) -> None:
    try:
        response.raise_for_status()
    except (httpx.HTTPStatusError, httpx2.HTTPStatusError):
        raise OwnError from None


async def raise_group(response: Any) -> None:
    try:
        response.raise_for_status()
    except (httpx.HTTPStatusError, httpx2.HTTPStatusError) as error:
        raise ExceptionGroup("several", [ValueError(), error]) from None


async def read_and_raise(response: Any) -> None:
    await response.aread()
    response.raise_for_status()


async def raise_without_response(response: Any) -> None:
    if response.is_error:
        raise OwnError


TELLING: list[Hook] = [
    raise_for_status,
    raise_own,
    raise_own_in_its_place,
    raise_group,
    read_and_raise,
]


@pytest.fixture(name="sent")
def _sent() -> list[int | Exception]:
    return []


async def send(client: Any, sent: list[int | Exception]) -> None:
    try:
        sent.append((await client.post(PATH, json={})).status_code)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        sent.append(error)


async def send_over_a_revocation(
    sandbox: Sandbox, client: Any, sent: list[int | Exception]
) -> None:
    """Send ten at once, which are in flight when the token is revoked."""
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            with sandbox.hold(PATH) as gate:
                for _ in range(10):
                    tasks.start_soon(send, client, sent)
                await gate.wait_until_async(10)
                sandbox.revoke()


@pytest.mark.invariant(16)
@pytest.mark.report(122)
@pytest.mark.parametrize("hook", [*TELLING, raise_without_response])
async def test_our_client_fails_no_request(
    sandbox: Sandbox, library: Library, hook: Hook, sent: list[int | Exception]
) -> None:
    """What a hook raises on a cured 401 is not raised."""
    async with library.taxizer_client(sandbox, event_hooks={"response": [hook]}) as client:
        await client.get("/v1/x")
        await send_over_a_revocation(sandbox, client, sent)

    assert sent == [200] * 10
    assert sandbox.counters.exchanges == 2


@pytest.mark.report(122)
async def test_hooks_may_be_added_later(
    sandbox: Sandbox, library: Library, sent: list[int | Exception]
) -> None:
    """Hooks that are added or set later are run like those given at the start."""
    seen: list[int] = []

    async def see(response: Any) -> None:
        seen.append(response.status_code)

    async with library.taxizer_client(sandbox) as client:
        await client.get("/v1/x")
        client.event_hooks["response"].append(see)
        client.event_hooks["response"].append(raise_for_status)
        await send_over_a_revocation(sandbox, client, sent)
        assert sorted(seen) == [200] * 10 + [401] * 10
        client.event_hooks = {"response": [raise_own]}
        assert client.event_hooks == {"request": [], "response": [raise_own]}
        await send_over_a_revocation(sandbox, client, sent)

    assert sent == [200] * 20
    assert len(seen) == 20


@pytest.mark.invariant(16)
@pytest.mark.report(122)
@pytest.mark.parametrize("hook", [raise_for_status, raise_without_response])
async def test_what_it_raised_is_raised_when_the_401_is_handed_back(
    sandbox: Sandbox, library: Library, hook: Hook, sent: list[int | Exception]
) -> None:
    """What a hook raises on a 401 that is handed back, or on another error, is raised."""
    sandbox.fail(PATH, Fault.unauthorized())
    async with library.taxizer_client(sandbox, event_hooks={"response": [hook]}) as client:
        await client.get("/v1/x")
        await send(client, sent)
        sandbox.heal()
        sandbox.fail(PATH, Fault.status(500))
        await send(client, sent)
        sandbox.heal()
        await send(client, sent)

    wanted = OwnError if hook is raise_without_response else library.module.HTTPStatusError
    assert [type(each) for each in sent] == [wanted, wanted, int]


@pytest.mark.report(122)
async def test_a_401_of_another_server_is_not_held_back(sandbox: Sandbox, library: Library) -> None:
    """What a hook raises on a foreign 401 is raised at once, and costs nothing."""
    foreign = sandbox.base_url.replace("127.0.0.1", "localhost")
    hooks = {"response": [raise_for_status]}
    async with library.taxizer_client(sandbox, event_hooks=hooks) as client:
        await client.get("/v1/x")
        with pytest.raises(library.module.HTTPStatusError):
            await client.get(f"{foreign}/v1/x")

    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(16)
@pytest.mark.report(122)
@pytest.mark.parametrize("hook", TELLING)
async def test_a_plain_client_fails_those_in_flight_alone(
    sandbox: Sandbox, library: Library, hook: Hook, sent: list[int | Exception]
) -> None:
    """With a plain client a hook that raises fails the requests in flight; the next one succeeds."""
    auth = library.auth(sandbox)
    async with library.plain_client(auth, event_hooks={"response": [hook]}) as client:
        await client.get("/v1/x")
        await send_over_a_revocation(sandbox, client, sent)
        assert not any(isinstance(each, int) for each in sent)
        with anyio.fail_after(HANG):
            assert (await client.post(PATH)).status_code == 200

    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(16)
@pytest.mark.report(122)
async def test_an_exception_around_a_good_request_changes_nothing(
    sandbox: Sandbox, library: Library
) -> None:
    """A request that is sent while a 401 of another one is being handled renews nothing."""
    auth = library.auth(sandbox)
    async with library.plain_client(auth) as client:
        sandbox.fail(PATH, Fault.unauthorized('Bearer error="insufficient_scope"'))
        refused = await client.post(PATH)
        sandbox.fail("/v1/reset", Fault.reset())
        try:
            refused.raise_for_status()
        except library.module.HTTPStatusError:
            assert (await client.get("/v1/x")).status_code == 200
            with pytest.raises(library.module.TransportError):
                await client.get("/v1/reset")
        assert (await client.get("/v1/x")).status_code == 200

    assert auth.status().state.value == "fresh"
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(16)
@pytest.mark.report(122)
@pytest.mark.parametrize("is_thrown_in", [False, True], ids=["closed", "thrown-in"])
async def test_an_exception_tells_of_its_401_once(
    sandbox: Sandbox, library: Library, is_thrown_in: bool
) -> None:
    """The exception of a 401 counts once, even if it is still handled when other flows end."""
    auth = library.auth(sandbox)

    def flow() -> Any:
        return auth.async_auth_flow(library.module.Request("GET", f"{sandbox.base_url}/v1/x"))

    first, second, third = flow(), flow(), flow()
    refused = library.module.Response(401, request=await first.__anext__())
    try:
        refused.raise_for_status()
    except library.module.HTTPStatusError as error:
        await (first.athrow(error) if is_thrown_in else first.aclose())
        assert auth.status().state.value == "refused"
        cached = auth._bearer.cache.state.cached
        place = f"GET {sandbox.base_url}/v1/x"
        auth._bearer.provider.note_acceptance(cached, place, sent_at=math.inf)
        assert auth.status().state.value == "fresh"
        for each in (second, third):
            await each.__anext__()
            await each.aclose()

    assert auth.status().state.value == "fresh"
    assert sandbox.counters.exchanges == 1


class OddError(Exception):
    """Has a response that is not one."""

    def __init__(self, response: object) -> None:
        super().__init__()
        self._response = response

    @property
    def response(self) -> object:
        if isinstance(self._response, Exception):
            raise self._response
        return self._response


class ForeignResponse:
    status_code = 401


@pytest.mark.invariant(16)
@pytest.mark.report(122)
@pytest.mark.parametrize(
    "response",
    [None, ForeignResponse(), httpx.Response(401), RuntimeError("not there"), "401"],
    ids=["none", "of-another-library", "without-a-request", "raises", "text"],
)
async def test_an_exception_is_what_comes_out_whatever_its_response_is(
    sandbox: Sandbox, library: Library, response: object
) -> None:
    """An exception of a hook is raised unchanged, whatever its `response` is."""

    async def fail(_: Any) -> None:
        raise OddError(response)

    auth = library.auth(sandbox)
    async with library.plain_client(auth, event_hooks={"response": [fail]}) as client:
        with pytest.raises(OddError):
            await client.get("/v1/x")

    assert auth.status().usable
    assert sandbox.counters.exchanges == 1
