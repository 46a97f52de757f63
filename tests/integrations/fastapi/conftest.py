"""An application that uses all of the adapter, a client that goes to the sandbox, and one to the application."""

from __future__ import annotations

import contextlib

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeAlias

import httpx
import pytest

from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send

from taxizer_async import RenewalPolicy, TaxizerClient
from taxizer_async.fastapi import Taxizer, add_exception_handlers, health_router, taxizer_lifespan
from taxizer_async.testing import Sandbox


MakeClient: TypeAlias = "Callable[[], TaxizerClient]"
PATH = "/v1/Invoices/GenerateInvoice"


@pytest.fixture(name="make_client")
def _make_client(sandbox: Sandbox) -> MakeClient:
    # An outage is reported after the first attempt.
    once = RenewalPolicy(backoff=60.0)
    return lambda: TaxizerClient(sandbox.credentials, base_url=sandbox.base_url, policy=once)


@pytest.fixture(name="app")
def _app(make_client: MakeClient) -> FastAPI:
    """Return an application without `keep_fresh`, so that only requests ask for tokens."""
    app = FastAPI(lifespan=taxizer_lifespan(make_client, keep_fresh=False))
    add_exception_handlers(app)
    app.include_router(health_router())

    @app.post("/invoices")
    async def submit(taxizer: Taxizer) -> int:
        return (await taxizer.post(PATH, json={})).status_code

    @app.websocket("/early")
    async def submit_and_accept(websocket: WebSocket, taxizer: Taxizer) -> None:
        status = (await taxizer.post(PATH, json={})).status_code
        await websocket.accept()
        await websocket.send_json(status)
        await websocket.close()

    @app.websocket("/late")
    async def accept_and_submit(websocket: WebSocket, taxizer: Taxizer) -> None:
        await websocket.accept()
        await websocket.send_json((await taxizer.post(PATH, json={})).status_code)
        await websocket.close()

    return app


@contextlib.asynccontextmanager
async def asking(
    app: ASGIApp, state: Mapping[str, Any] | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    """Return a client of *app* that passes *state* to its requests, as a server does."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state or {})}, receive, send)

    transport = httpx.ASGITransport(with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client
