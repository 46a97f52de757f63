"""What users write, for the type checkers: this file is never run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import assert_type

import anyio
import httpx
import httpx2

from taxizer_async import (
    AuthError,
    AuthStatus,
    Credentials,
    Event,
    LoggedIn,
    MemoryTokenStore,
    RenewalPolicy,
    Secret,
    SyncTaxizerClient,
    TaxizerAuth,
    TaxizerClient,
    Token,
    TokenResponseError,
    TokenState,
    TokenStore,
)
from taxizer_async.httpx2 import SyncTaxizerClient as Httpx2Client
from taxizer_async.invoices import InvoiceOutcome, SignedInvoice, submit_signed_xml
from taxizer_async.testing import ManualClock, Sandbox


async def fetch_from_vault() -> Credentials:
    return Credentials("id", Secret("secret"))


def read_from_file() -> Credentials:
    return Credentials.from_env()


async def hook(event: Event) -> None:
    if isinstance(event, LoggedIn):
        assert_type(event.elapsed, float)
        assert_type(event.expires_at, datetime | None)


def sync_hook(event: Event) -> None:
    assert_type(type(event), type[Event])


async def use_auth() -> None:
    store: TokenStore = MemoryTokenStore()
    TaxizerAuth(fetch_from_vault)
    TaxizerAuth(read_from_file, on_event=sync_hook)
    TaxizerAuth(Credentials.from_env, on_event=hook)
    auth = TaxizerAuth(
        Credentials("id", "secret"),
        base_url="https://apistaging.taxizer.com",
        store=store,
        policy=RenewalPolicy(renew_ahead=60),
        http_client=lambda: httpx.AsyncClient(proxy="http://proxy:3128"),
        extra_origins=["https://files.example"],
        clock=ManualClock(),
    )
    assert_type(await auth.token(), Token)
    assert_type(auth.status(), AuthStatus)
    assert_type(auth.status().state, TokenState)
    assert_type(await auth.forget(), None)
    remove = auth.add_listener(hook)
    assert_type(remove, Callable[[], None])
    assert_type(auth.add_listener(sync_hook)(), None)
    assert_type(await auth.events_delivered(), None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.keep_fresh)
    async with httpx.AsyncClient(auth=auth) as client:
        assert_type(await client.get("/"), httpx.Response)


def mistype_options() -> None:
    TaxizerClient.from_env(timeot=5)  # type: ignore[call-arg]
    TaxizerClient.from_env(base_url=5)  # type: ignore[arg-type]
    SyncTaxizerClient(Credentials("id", "secret"), extra_origin=[])  # type: ignore[call-arg]


async def use_client() -> None:
    async with TaxizerClient.from_env(timeout=5) as client:
        assert_type(client, TaxizerClient)
        assert_type(client.auth, TaxizerAuth)
        token = await client.auth.token()
        assert_type(token.jwt, Secret)
        assert_type(token.jwt.reveal(), str)
        assert_type(token.expires_at, datetime | None)
        assert_type(token.refresh_token, Secret | None)


def use_sync() -> None:
    auth = TaxizerAuth(Credentials("id", "secret"))
    token = auth.sync_token()
    assert_type(token, Token)
    assert_type(auth.sync_refused(token, place="GET https://host/x"), Token | None)
    assert_type(auth.sync_forget(), None)
    with httpx.Client(auth=auth) as plain:
        assert_type(plain.get("/"), httpx.Response)
    with SyncTaxizerClient.from_env(timeout=5) as client:
        assert_type(client, SyncTaxizerClient)
        assert_type(client.auth, TaxizerAuth)
        assert_type(client.get("/"), httpx.Response)
        invoice: SignedInvoice = {
            "uuid": "00000000-0000-0000-0000-000000000000",
            "device_id": "00000000-0000-0000-0000-000000000000",
            "invoice_number": "7",
            "xml": b"<Invoice/>",
        }
        assert_type(submit_signed_xml(client, **invoice), InvoiceOutcome)
    with Httpx2Client.from_env(timeout=5) as other:
        assert_type(other.get("/"), httpx2.Response)


def read_errors(error: AuthError) -> None:
    assert_type(error.retryable, bool)
    assert_type(error.retry_at, datetime | None)
    assert_type(error.status_code, int | None)
    if isinstance(error, TokenResponseError):
        assert_type(error.excerpt, str)


def use_sandbox() -> None:
    with Sandbox(lifetime=1.0) as sandbox:
        assert_type(sandbox.credentials, Credentials)
        assert_type(sandbox.base_url, str)
