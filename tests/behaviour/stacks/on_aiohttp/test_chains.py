"""Our middleware among others, before it and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiohttp
import anyio
import attrs
import pytest

import taxizer_async.aiohttp

from taxizer_async import Event, TaxizerAuth, TokenRefused
from taxizer_async.aiohttp import TaxizerMiddleware
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, arrived, auth_of
from tests.support.limits import HANG

from .conftest import open_session, status_of


before_and_after = pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])


def chain(
    auth: TaxizerAuth, other: aiohttp.ClientMiddlewareType, *, is_before: bool
) -> Sequence[aiohttp.ClientMiddlewareType]:
    ours = TaxizerMiddleware(auth)
    return [other, ours] if is_before else [ours, other]


@before_and_after
@pytest.mark.parametrize("changed", [b"short", b"much longer than it was", "of text"])
async def test_a_body_that_another_middleware_changes_is_sent_again(
    sandbox: Sandbox, auth: TaxizerAuth, is_before: bool, changed: bytes | str
) -> None:
    """A body that another middleware replaces and signs arrives twice as it was replaced and signed."""
    signatures: list[str | None] = []

    async def change(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await request.update_body(changed)
        payload: Any = request.body
        request.headers["X-Signature"] = payload.decode()
        response = await handler(request)
        signatures.append(response.request_info.headers.get("X-Signature"))
        return response

    sandbox.fail(PATH, Fault.unauthorized(), times=1)
    async with open_session(auth, middlewares=chain(auth, change, is_before=is_before)) as session:
        assert await status_of(session, data=b"the original") == 200

    text = changed if isinstance(changed, str) else changed.decode()
    assert arrived(sandbox) == [(401, text.encode()), (200, text.encode())]
    assert signatures == [text] * (1 if is_before else 2)


@attrs.frozen
class Failing:
    """A middleware that raises, before the request is sent or after it; keeps the request."""

    error: Exception
    is_sent: bool
    seen: list[aiohttp.ClientRequest] = attrs.field(factory=list)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.seen.append(request)
        if self.is_sent:
            (await handler(request)).release()
        raise self.error


@before_and_after
@pytest.mark.parametrize("is_sent", [True, False], ids=["sent", "unsent"])
@pytest.mark.parametrize("kind", [ValueError, aiohttp.ClientError, OSError])
async def test_what_another_middleware_raises_comes_out(
    sandbox: Sandbox, auth: TaxizerAuth, kind: type[Exception], is_sent: bool, is_before: bool
) -> None:
    """What another middleware raises comes out, and leaves no token in the request and no connection in use."""
    failing = Failing(kind("its own"), is_sent)
    middlewares = chain(auth, failing, is_before=is_before)
    connector = aiohttp.TCPConnector(limit=1)
    async with open_session(auth, connector=connector) as session:
        with pytest.raises(kind) as caught:
            await status_of(session, middlewares=middlewares)
        with anyio.fail_after(HANG):
            assert await status_of(session) == 200

    # aiohttp makes an error of its own of an OSError.
    assert failing.error in {caught.value, caught.value.__cause__}
    assert "Authorization" not in failing.seen[0].headers
    assert sandbox.counters.resources == 1 + is_sent
    assert sandbox.counters.exchanges == 1


async def test_a_request_that_is_blocked_before_it_costs_no_login(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """A request that a middleware of `open_session` refuses causes neither a login nor a connection."""
    failing = Failing(aiohttp.ClientError("blocked"), is_sent=False)
    async with taxizer_async.aiohttp.open_session(auth, middlewares=[failing]) as session:
        with pytest.raises(aiohttp.ClientError, match="blocked"):
            await session.post(PATH)

    assert (sandbox.counters.resources, sandbox.counters.exchanges) == (0, 0)


@before_and_after
async def test_a_middleware_may_send_requests_of_its_own(
    sandbox: Sandbox, auth: TaxizerAuth, is_before: bool
) -> None:
    """Requests that a middleware sends through the same session have the token, and share its renewal."""

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.url.path != "/v1/note":
            assert await status_of(request.session, "/v1/note", data=b"note") == 200
        return await handler(request)

    async with open_session(auth, middlewares=chain(auth, note, is_before=is_before)) as session:
        with anyio.fail_after(HANG):
            assert await status_of(session) == 200
            sandbox.revoke()
            assert await status_of(session) == 200

    # One behind ours sees the refused request, too.
    assert sandbox.counters.resources_ok == (4 if is_before else 5)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


async def test_two_accounts_share_a_session(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """With two of ours in a session each host gets its own token, and no other."""
    with Sandbox(client_id="other", client_secret="another") as other:
        chained = [TaxizerMiddleware(auth), TaxizerMiddleware(auth_of(other))]
        async with open_session(auth, middlewares=chained) as session:
            assert await status_of(session) == 200
            assert await status_of(session, f"{other.base_url}{PATH}") == 200
            other.revoke()
            assert await status_of(session, f"{other.base_url}{PATH}") == 200

        assert [entry.jwt_id for entry in sandbox.resource_log] == [1]
        assert [entry.status for entry in other.resource_log] == [200, 401, 200]


async def test_a_resend_takes_the_same_connection(
    sandbox: Sandbox, auth: TaxizerAuth, events: list[Event]
) -> None:
    """After a 401 without a body, or with a long one, the request is sent again over the connection that it came by."""
    opened: list[str] = []
    trace = aiohttp.TraceConfig()

    async def note(*_: object) -> None:
        opened.append("connection")

    trace.on_connection_create_end.append(note)
    async with open_session(auth, trace_configs=[trace]) as session:
        await status_of(session)
        for fault in (Fault.status(401), Fault.status(401, body="x" * 200_000)):
            sandbox.fail(PATH, fault, times=1)
            assert await status_of(session, data=b"invoice") == 200
    await auth.events_delivered()

    assert opened == ["connection"]
    assert sum(isinstance(event, TokenRefused) for event in events) == 2
