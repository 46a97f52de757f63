"""The contenders on aiohttp. Each is set up as its documentation says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import anyio.to_thread
import google.oauth2.credentials
import httpx

from google.auth.aio.transport import aiohttp as google_aiohttp
from google.auth.aio.transport import sessions

from benchmarks.contenders import BODY, JSON, PATH, TIMEOUT, Contender, Session, Setup
from benchmarks.on_httpx import own_auth
from taxizer_async.aiohttp import TaxizerMiddleware


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def open_static(setup: Setup) -> AsyncIterator[Session]:
    """Open the floor: a header of the session."""
    token = (await own_auth(setup).token()).jwt.reveal()
    async with _client(setup, headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


@asynccontextmanager
async def open_own(setup: Setup) -> AsyncIterator[Session]:
    """Open the package."""
    async with _client(setup, middlewares=[TaxizerMiddleware(own_auth(setup))]) as session:
        yield session


@asynccontextmanager
async def open_google(setup: Setup) -> AsyncIterator[Session]:
    """
    Open google-auth: "Asynchronous", an `AsyncAuthorizedSession` over user credentials.

    User credentials start with a refresh token, so google-auth does not make the first login itself.
    It renews 225 s before a token expires, which can't be set.
    """
    credentials = google.oauth2.credentials.Credentials(
        token=None,
        refresh_token=await anyio.to_thread.run_sync(_consent, setup),
        token_uri=f"{setup.target.base_url}/oauth/token",
        client_id=setup.target.client_id,
        client_secret=setup.target.client_secret,
    )
    url = f"{setup.target.base_url}{PATH}"
    async with _session(setup) as inner:
        transport = google_aiohttp.Request(session=inner)
        session = sessions.AsyncAuthorizedSession(credentials, transport)

        async def request() -> int:
            response = await session.request("POST", url, data=BODY, headers=JSON)
            await response.read()
            return int(response.status_code)

        async def attach() -> None:
            # Like its `request`.
            await session._credentials.before_request(transport, "POST", url, dict(JSON))  # noqa: SLF001

        try:
            yield Session(request=request, attach=attach)
        finally:
            await session.close()


AIOHTTP: Final = (
    Contender(
        name="static header (aiohttp)",
        kind="floor",
        distribution="aiohttp",
        library="aiohttp",
        open=open_static,
    ),
    Contender(
        name="taxizer_async (aiohttp)",
        kind="own",
        distribution="taxizer-async",
        library="aiohttp",
        open=open_own,
    ),
    Contender(
        name="google-auth",
        kind="peer",
        distribution="google-auth",
        library="aiohttp",
        open=open_google,
        fixed_early=225.0,
    ),
)


def _consent(setup: Setup) -> str:
    target = setup.target
    with httpx.Client(trust_env=False) as client:
        answer = client.post(
            f"{target.base_url}/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_id": target.client_id,
                "client_secret": target.client_secret,
            },
        )
    return str(answer.raise_for_status().json()["refresh_token"])


@asynccontextmanager
async def _session(setup: Setup, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        setup.target.base_url,
        connector=aiohttp.TCPConnector(limit=setup.connections),
        timeout=aiohttp.ClientTimeout(TIMEOUT),
        **options,
    ) as session:
        yield session


@asynccontextmanager
async def _client(setup: Setup, **options: Any) -> AsyncIterator[Session]:
    async with _session(setup, **options) as session:

        async def request() -> int:
            async with session.post(PATH, data=BODY, headers=JSON) as response:
                await response.read()
                return response.status

        yield Session(request=request)
