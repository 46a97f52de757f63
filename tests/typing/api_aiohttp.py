"""What users of aiohttp and httpx2 write, for the type checkers: this file is never run."""

from __future__ import annotations

from typing import assert_type

import aiohttp
import httpx2

from aiohttp import web

import taxizer_async.httpx2

from taxizer_async import AuthStatus, Credentials, TaxizerAuth, Token
from taxizer_async.aiohttp import (
    TAXIZER_AUTH,
    TAXIZER_SESSION,
    TaxizerMiddleware,
    auth_key,
    open_session,
    session_key,
    taxizer_ctx,
)


def make_auth() -> TaxizerAuth:
    return TaxizerAuth(Credentials.from_env)


async def use_middleware() -> None:
    auth = make_auth()
    as_aiohttp_has_it: aiohttp.ClientMiddlewareType = TaxizerMiddleware(auth)
    async with (
        aiohttp.ClientSession(auth.base_url, middlewares=[as_aiohttp_has_it]) as session,
        session.post("/v1/Invoices/GenerateInvoice", json={}) as answer,
    ):
        assert_type(answer, aiohttp.ClientResponse)
    async with aiohttp.ClientSession(middlewares=(TaxizerMiddleware(auth),)):
        pass
    async with open_session(auth, timeout=aiohttp.ClientTimeout(10)) as session:
        assert_type(session, aiohttp.ClientSession)
    TaxizerMiddleware(taxizer_async.httpx2.TaxizerAuth(Credentials.from_env))


async def submit(request: web.Request) -> web.Response:
    session = request.app[TAXIZER_SESSION]
    assert_type(session, aiohttp.ClientSession)
    auth = request.app[TAXIZER_AUTH]
    assert_type(auth, TaxizerAuth)
    assert_type(auth.status(), AuthStatus)
    assert_type(request.app[session_key("north")], aiohttp.ClientSession)
    assert_type(request.app[auth_key("north")], TaxizerAuth)
    return web.Response()


def serve() -> None:
    app = web.Application()
    app.cleanup_ctx.append(taxizer_ctx())
    app.cleanup_ctx.append(
        taxizer_ctx(
            make_auth,
            keep_fresh=False,
            middlewares=[TaxizerMiddleware(make_auth())],
            timeout=aiohttp.ClientTimeout(10),
        )
    )


async def use_httpx2() -> None:
    auth = taxizer_async.httpx2.TaxizerAuth(
        Credentials.from_env, http_client=lambda: httpx2.AsyncClient(proxy="http://proxy:3128")
    )
    assert_type(await auth.token(), Token)
    async with httpx2.AsyncClient(auth=auth) as client:
        assert_type(await client.get("/"), httpx2.Response)
    async with taxizer_async.httpx2.TaxizerClient.from_env(timeout=5) as taxizer:
        assert_type(taxizer, taxizer_async.httpx2.TaxizerClient)
        assert_type(taxizer.auth, taxizer_async.httpx2.TaxizerAuth)
        assert_type(await taxizer.get("/"), httpx2.Response)
