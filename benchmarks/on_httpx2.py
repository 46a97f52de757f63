"""The contenders on httpx2. Each is set up as its documentation says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx2

from authlib.integrations.httpx_client import AsyncOAuth2Client

from benchmarks.contenders import BODY, JSON, PATH, TIMEOUT, Contender, Session, Setup
from benchmarks.on_httpx import attaching, client_session, own_auth, transported
from taxizer_async import Credentials
from taxizer_async.httpx2 import TaxizerAuth


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator


_LEEWAY: Final = 60.0


class StaticHeader(httpx2.Auth):
    """The auth in the documentation of httpx2."""

    def __init__(self, value: str) -> None:
        self._value = value

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Set the header."""
        request.headers["Authorization"] = self._value
        yield request


@asynccontextmanager
async def open_static(setup: Setup) -> AsyncIterator[Session]:
    """Open the documented floor."""
    token = (await own_auth(setup).token()).jwt.reveal()
    async with client_session(httpx2, StaticHeader(f"Bearer {token}"), setup) as session:
        yield session


@asynccontextmanager
async def open_own(setup: Setup) -> AsyncIterator[Session]:
    """Open the package."""
    auth = TaxizerAuth(
        Credentials(setup.target.client_id, setup.target.client_secret),
        base_url=setup.target.base_url,
        store=setup.store,
        http_client=lambda: httpx2.AsyncClient(trust_env=False),
    )
    async with client_session(httpx2, auth, setup) as session:
        yield session


def authlib_options(setup: Setup) -> dict[str, Any]:
    """Return the arguments of Authlib's clients: "Auto Refresh Token"."""
    return {
        "client_id": setup.target.client_id,
        "client_secret": setup.target.client_secret,
        "token_endpoint": f"{setup.target.base_url}/oauth/token",
        "grant_type": "client_credentials",
        "leeway": _LEEWAY if setup.early is None else setup.early,
        "base_url": setup.target.base_url,
        "timeout": TIMEOUT,
        "trust_env": False,
        # Nothing is sent over TLS, and each of many clients would read the CA bundle.
        "verify": False,
    }


@asynccontextmanager
async def open_authlib(setup: Setup) -> AsyncIterator[Session]:
    """Open Authlib; the first token is fetched by its user."""
    async with (
        transported(httpx2, setup) as transport,
        AsyncOAuth2Client(transport=transport, **authlib_options(setup)) as client,
    ):
        await client.fetch_token(grant_type="client_credentials")

        async def request() -> int:
            response: httpx2.Response = await client.post(PATH, content=BODY, headers=JSON)
            return response.status_code

        bare = attaching(httpx2, client.token_auth, setup)

        async def attach() -> None:
            # Like its `request`.
            await client.ensure_active_token(client.token)
            await bare()

        yield Session(request=request, attach=attach)


HTTPX2: Final = (
    Contender(
        name="static header (httpx2)",
        kind="floor",
        library="httpx2",
        open=open_static,
    ),
    Contender(
        name="taxizer_async (httpx2)",
        kind="own",
        library="httpx2",
        open=open_own,
    ),
    Contender(
        name="Authlib",
        kind="peer",
        library="httpx2",
        open=open_authlib,
    ),
)
