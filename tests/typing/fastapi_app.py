"""What users of FastAPI and Starlette write, for the type checkers: this file is never run."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, assert_type

import httpx

from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from starlette.applications import Starlette
from starlette.routing import Route

from taxizer_async import TaxizerAuth, TaxizerClient
from taxizer_async.fastapi import (
    Taxizer,
    add_exception_handlers,
    get_taxizer,
    health_router,
    health_routes,
    named_taxizer,
    taxizer_lifespan,
)
from taxizer_async.stores.redis import RedisTokenStore


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


@asynccontextmanager
async def stateful(_: FastAPI) -> AsyncGenerator[dict[str, int]]:
    yield {"answer": 42}


@asynccontextmanager
async def stateless(_: FastAPI) -> AsyncGenerator[None]:
    yield


@asynccontextmanager
async def open_client() -> AsyncGenerator[TaxizerClient]:
    async with (
        RedisTokenStore.from_url("redis://localhost") as store,
        TaxizerClient.from_env(store=store) as client,
    ):
        yield client


def make_client() -> TaxizerClient:
    return TaxizerClient.from_env(timeout=5)


def use_lifespans() -> None:
    FastAPI(lifespan=taxizer_lifespan())
    FastAPI(lifespan=taxizer_lifespan(make_client, lifespan=stateful))
    FastAPI(lifespan=taxizer_lifespan(open_client, lifespan=stateless, keep_fresh=False))
    APIRouter(lifespan=taxizer_lifespan(make_client, name="north", log_in_at_start=True))
    Starlette(lifespan=taxizer_lifespan(), routes=[*health_routes()])
    context: AbstractAsyncContextManager[Mapping[str, Any]] = taxizer_lifespan()(FastAPI())
    assert_type(health_routes("/internal"), list[Route])
    del context


app = FastAPI(lifespan=taxizer_lifespan())
assert_type(add_exception_handlers(app), None)
assert_type(health_router("/internal"), APIRouter)
app.include_router(health_router(), dependencies=[Depends(make_client)])
app.dependency_overrides[get_taxizer] = make_client
app.dependency_overrides[named_taxizer("north")] = make_client


@app.post("/invoices")
async def submit(taxizer: Taxizer) -> int:
    assert_type(taxizer, TaxizerClient)
    assert_type(taxizer.auth, TaxizerAuth)
    assert_type(await taxizer.post("/v1/Devices/Register"), httpx.Response)
    return 200


@app.websocket("/invoices")
async def submit_many(websocket: WebSocket) -> None:
    assert_type(get_taxizer(websocket), TaxizerClient)


async def endpoint(request: Request) -> None:
    assert_type(get_taxizer(request), TaxizerClient)
    assert_type(named_taxizer("north")(request), TaxizerClient)
