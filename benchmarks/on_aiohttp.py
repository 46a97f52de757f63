"""The contenders on aiohttp. Each is set up as its documentation says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import google.oauth2.credentials
import requests

from google.auth.aio.transport import aiohttp as google_aiohttp
from google.auth.aio.transport import sessions
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

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


def google_credentials(setup: Setup) -> google.oauth2.credentials.Credentials:
    """
    Return credentials of google-auth with a `refresh_handler`, as its own grants are Google's.

    It renews 225 s before a token expires, which can't be set. A login is tried as often as google-auth tries its
    own.
    """
    logins = requests.Session()
    logins.trust_env = False
    retry = Retry(2, status_forcelist=(503,), allowed_methods=None, backoff_factor=1)
    logins.mount("http://", HTTPAdapter(max_retries=retry))
    form = {
        "grant_type": "client_credentials",
        "client_id": setup.target.client_id,
        "client_secret": setup.target.client_secret,
    }

    def log_in(_: object, scopes: object) -> tuple[str, datetime]:  # noqa: ARG001 - by name
        now = datetime.now(UTC).replace(tzinfo=None)
        answer = logins.post(f"{setup.target.base_url}/oauth/token", data=form, timeout=TIMEOUT)
        answer.raise_for_status()
        fields = answer.json()
        return fields["access_token"], now + timedelta(seconds=fields["expires_in"])

    return google.oauth2.credentials.Credentials(None, refresh_handler=log_in)


@asynccontextmanager
async def open_google(setup: Setup) -> AsyncIterator[Session]:
    """Open google-auth: "Asynchronous", an `AsyncAuthorizedSession`."""
    credentials = google_credentials(setup)
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
        library="aiohttp",
        open=open_static,
    ),
    Contender(
        name="taxizer_async (aiohttp)",
        kind="own",
        library="aiohttp",
        open=open_own,
    ),
    Contender(
        name="google-auth",
        kind="peer",
        library="aiohttp",
        open=open_google,
        fixed_early=225.0,
    ),
)


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
