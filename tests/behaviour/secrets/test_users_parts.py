"""What stores, hooks, vaults and factories of the user raise may hold a secret, which is not repeated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import httpx
import pytest

from taxizer_async import (
    AuthError,
    ConfigurationError,
    Credentials,
    Event,
    MemoryTokenStore,
    TaxizerAuth,
    TokenStoreError,
)
from taxizer_async.stores import Lease, StoreKey, TokenRecord
from taxizer_async.testing import Sandbox
from tests.support.callers import auth_of, client_of
from tests.support.canaries import SECRET, Exposed
from tests.support.policies import ONE_TRY


class LeakyError(Exception):
    """Holds a secret in its message, its arguments, a note and its cause."""

    def __init__(self, *secrets: str) -> None:
        super().__init__(f"cannot do that with {secrets}", *secrets)
        self.secrets = secrets
        self.add_note(f"tried with {secrets}")
        self.__cause__ = ValueError(*secrets)


class LeakyStore:
    """Fails in *failing*, with what it was given or holds in the message."""

    def __init__(self, failing: str) -> None:
        self.failing = failing
        self.failed = 0
        self._store = MemoryTokenStore()
        self._secrets = [SECRET]

    def _fail(self, operation: str) -> None:
        if operation == self.failing:
            self.failed += 1
            raise LeakyError(*self._secrets)

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        self._fail("load")
        return await self._store.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        self._secrets.append(record.token.jwt.reveal())
        if record.token.refresh_token is not None:
            self._secrets.append(record.token.refresh_token.reveal())
        self._fail("save")
        return await self._store.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        self._fail("clear")
        await self._store.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self._fail("lease")
        return await self._store.lease(key)


@pytest.mark.invariant(20)
@pytest.mark.parametrize("operation", ["load", "save", "clear", "lease"])
async def test_nothing_is_seen_of_a_failing_store(
    sandbox: Sandbox, events: list[Event], exposed: Exposed, operation: str
) -> None:
    """A store with errors that quote the token fails no request, and shows no canary."""
    store = LeakyStore(operation)
    auth = auth_of(sandbox, store=store, on_event=events.append)
    async with client_of(auth) as client:
        for _ in range(2):
            assert (await client.get("/v1/x")).status_code == 200
            sandbox.revoke()
    shown: list[object] = [auth, auth.status()]
    if operation == "clear":
        with pytest.raises(TokenStoreError) as caught:
            await auth.forget()
        shown.append(caught.value)
    else:
        await auth.forget()
    await auth.events_delivered()

    assert store.failed
    assert exposed(*shown, auth.status(), *events) == []


@pytest.mark.invariant(20)
@pytest.mark.parametrize("is_async", [True, False])
async def test_nothing_is_seen_of_a_failing_hook(
    sandbox: Sandbox, exposed: Exposed, is_async: bool
) -> None:
    """An error of a hook that quotes the secret is logged by its class."""

    def hook(_: Event) -> NoReturn:
        raise LeakyError(SECRET, *sandbox.issued_jwts)

    async def async_hook(event: Event) -> None:
        hook(event)

    auth = auth_of(sandbox, on_event=async_hook if is_async else hook)
    token = await auth.token()
    await auth.events_delivered()

    assert exposed(token, auth, auth.status()) == []


async def vault(*secrets: str) -> Credentials:
    raise LeakyError(*secrets)


def sync_vault(*secrets: str) -> Credentials:
    raise LeakyError(*secrets)


def careless(*secrets: str) -> Any:
    return secrets


def misconfigured(*secrets: str) -> Credentials:
    return Credentials("", secrets[0])


@pytest.mark.invariant(20)
@pytest.mark.parametrize("callback", [vault, sync_vault, careless, misconfigured])
async def test_nothing_is_seen_of_a_failing_vault(
    sandbox: Sandbox, events: list[Event], exposed: Exposed, callback: Callable[..., Any]
) -> None:
    """A credentials callable that fails or returns nonsense shows nothing of its arguments."""
    auth = TaxizerAuth(partial(callback, SECRET), base_url=sandbox.base_url, on_event=events.append)
    shown: list[object] = []
    for call in (auth.token, auth.token, auth.forget):
        with pytest.raises((AuthError, ConfigurationError)) as caught:
            await call()
        shown.append(caught.value)
    await auth.events_delivered()

    assert sandbox.counters.connects == 0
    assert exposed(*shown, repr(auth), auth.status(), *events) == []


async def test_nothing_is_seen_of_a_failing_factory(
    sandbox: Sandbox, events: list[Event], exposed: Exposed
) -> None:
    """An http_client that fails shows nothing of its arguments, such as a proxy's password."""

    def http_client(*secrets: str) -> httpx.AsyncClient:
        raise LeakyError(*secrets)

    auth = auth_of(sandbox, http_client=partial(http_client, SECRET), on_event=events.append)
    with pytest.raises(ConfigurationError) as caught:
        await auth.token()
    await auth.events_delivered()

    assert "LeakyError" in str(caught.value)
    assert exposed(caught.value, auth, auth.status(), *events) == []


@pytest.mark.invariant(20)
@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadError, ValueError])
async def test_nothing_is_seen_of_a_failing_transport(
    sandbox: Sandbox, events: list[Event], exposed: Exposed, kind: type[Exception]
) -> None:
    """An error of the user's transport that quotes the request shows no canary."""

    class LeakyTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.ByteStream)
            body = await request.aread()
            raise kind(f"cannot send {body!r}")

    auth = auth_of(
        sandbox,
        http_client=lambda: httpx.AsyncClient(transport=LeakyTransport()),
        on_event=events.append,
        policy=ONE_TRY,
    )
    with pytest.raises(AuthError) as caught:
        await auth.token()
    await auth.events_delivered()

    assert exposed(caught.value, auth, auth.status(), *events) == []
