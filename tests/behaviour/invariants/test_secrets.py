"""Invariant 20: nothing is seen of a secret; `tests/behaviour/secrets` looks further."""

from __future__ import annotations

import copy
import pickle

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from taxizer_async import AuthError, Secret
from taxizer_async.testing import Fault
from tests.behaviour.secrets.conftest import (  # noqa: F401 - fixtures
    _canaries,
    _exposed,
    _log,
    _sandbox,
)

from .conftest import PATH


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import Event, TaxizerAuth
    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing import Sandbox
    from tests.support.scripted_store import ScriptedStore


async def test_invariant_20_a_life_shows_no_secret(
    sandbox: Sandbox, auth: TaxizerAuth, exposed: Callable[..., list[str]]
) -> None:
    """Repr, status, pickle, copies and the log of a login and two renewals show none."""
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(3):
            assert (await client.post(PATH)).status_code == 200
            sandbox.revoke()
    token = await auth.token()

    assert exposed(token, auth, auth.status(), sandbox.credentials, Secret("x")) == []
    assert "***" in repr(token.jwt)


@pytest.mark.parametrize("clone", [pickle.dumps, copy.copy, copy.deepcopy])
def test_invariant_20_a_secret_is_not_copied_out(clone: Callable[[object], object]) -> None:
    """A secret refuses to be pickled, and its copy is masked like itself."""
    if clone is pickle.dumps:
        with pytest.raises(TypeError):
            clone(Secret("canary"))
        return
    assert "canary" not in repr(clone(Secret("canary")))


@pytest.mark.parametrize(
    "fault",
    [Fault.status(401), Fault.status(500, body="x"), Fault.reset(), Fault.junk(b"[]")],
    ids=["refused", "down", "reset", "junk"],
)
async def test_invariant_20_an_error_shows_no_secret(
    sandbox: Sandbox,
    make_auth: Callable[..., TaxizerAuth],
    events: list[Event],
    exposed: Callable[..., list[str]],
    fault: Fault,
) -> None:
    """Errors of a renewal and of the login after it: text, fields, causes, notes and frames."""
    auth = make_auth()
    await auth.token()
    sandbox.fail("connect", fault)
    sandbox.fail("refresh", fault)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(2):
            sandbox.revoke()
            with pytest.raises(AuthError) as caught:
                await client.post(PATH)
            await auth.events_delivered()
            assert exposed(caught.value, auth.status(), *events) == []


async def test_invariant_20_what_a_store_or_a_hook_quotes_is_not_passed_on(
    make_auth: Callable[..., TaxizerAuth],
    store: ScriptedStore,
    events: list[Event],
    exposed: Callable[..., list[str]],
) -> None:
    """The text of an error out of the user's parts, which may quote the token, is told nowhere."""

    async def quote(record: TokenRecord) -> None:
        raise OSError(record.token.jwt.reveal())

    def complain(event: Event) -> None:
        events.append(event)
        raise ValueError(auth._bearer.provider.cache.state.cached.token.jwt.reveal())  # type: ignore[union-attr]

    store.before_save = quote
    auth = make_auth(on_event=complain)
    await auth.token()
    await auth.events_delivered()

    assert events
    assert exposed(auth.status(), *events) == []


async def test_invariant_20_a_cancellation_shows_no_secret(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], exposed: Callable[..., list[str]]
) -> None:
    """What a cancelled caller raises, with all its frames and what led to it, shows none."""
    sending = anyio.Event()
    raised: list[BaseException] = []

    class Sending(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            body = await request.aread()
            assert sandbox.credentials.client_secret.reveal().encode() in body
            sending.set()
            await anyio.sleep_forever()
            return httpx.Response(200, content=body)

    async def take() -> None:
        try:
            await make_auth(http_client=lambda: httpx.AsyncClient(transport=Sending())).token()
        except BaseException as error:
            raised.append(error)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await sending.wait()
        tasks.cancel_scope.cancel()

    assert len(raised) == 1
    assert exposed(*raised) == []
