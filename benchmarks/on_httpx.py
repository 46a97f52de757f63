"""The contenders on httpx. Each is set up as its documentation says."""

from __future__ import annotations

import time

from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from httpx_auth import JsonTokenFileCache, OAuth2, OAuth2ClientCredentials, TokenMemoryCache

from benchmarks.contenders import (
    BODY,
    JSON,
    PATH,
    TIMEOUT,
    Contender,
    Session,
    Setup,
)
from taxizer_async import Credentials, TaxizerAuth


if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Generator,
        Iterator,
    )


_UNAUTHORIZED: Final = 401
_EARLY: Final = 30.0


class StaticHeader(httpx.Auth):
    """The auth in the documentation of httpx, "Custom authentication schemes"."""

    def __init__(self, value: str) -> None:
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the header."""
        request.headers["Authorization"] = self._value
        yield request


class LeanHeader(httpx.Auth):
    """The least that an auth can do: no generator within a generator."""

    def __init__(self, value: str) -> None:
        self._value = value

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Set the header."""
        request.headers["Authorization"] = self._value
        yield request

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the header."""
        request.headers["Authorization"] = self._value
        yield request


class EventAuth(httpx.Auth):
    """The leanest single flight: the first caller logs in, and an event wakes all others."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._header: str | None = None
        self._done: anyio.Event | None = None

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the only token that there ever is."""
        if self._header is None:
            if self._done is None:
                self._done = anyio.Event()
                self._header = f"Bearer {await _token_of(self._setup)}"
                self._done.set()
            else:
                await self._done.wait()
        request.headers["Authorization"] = self._header or ""
        yield request


class LockAuth(httpx.Auth):
    """
    What people write: the documented httpx auth with an async lock, made careful.

    It takes no lock for a fresh token, checks the token again under the lock, and logs in after a 401 only if its
    token is still the refused one.
    """

    def __init__(self, setup: Setup, logins: httpx.AsyncClient) -> None:
        self._target = setup.target
        self._logins = logins
        self._early = _EARLY if setup.early is None else setup.early
        self._lock = anyio.Lock()
        self._token = ""
        self._ends_at = 0.0

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the token; on a 401 log in and send once more."""
        token = await self._get_token(refused=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == _UNAUTHORIZED:
            token = await self._get_token(refused=token)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    async def _get_token(self, *, refused: str | None) -> str:
        if self._is_good(refused):
            return self._token
        async with self._lock:
            if not self._is_good(refused):
                response = await self._logins.post(
                    f"{self._target.base_url}/v1/Auth/Connect",
                    json={
                        "clientId": self._target.client_id,
                        "clientSecret": self._target.client_secret,
                    },
                )
                response.raise_for_status()
                fields = response.json()
                self._token = str(fields["jwtToken"])
                self._ends_at = _moment(fields["jwtTokenExpireAtUTC"])
            return self._token

    def _is_good(self, refused: str | None) -> bool:
        return self._token != refused and time.time() < self._ends_at - self._early


@asynccontextmanager
async def open_static(setup: Setup) -> AsyncIterator[Session]:
    """Open the documented floor."""
    async with client_session(
        httpx, StaticHeader(f"Bearer {await _token_of(setup)}"), setup
    ) as session:
        yield session


@asynccontextmanager
async def open_lean(setup: Setup) -> AsyncIterator[Session]:
    """Open the leanest floor."""
    async with client_session(
        httpx, LeanHeader(f"Bearer {await _token_of(setup)}"), setup
    ) as session:
        yield session


@asynccontextmanager
async def open_event(setup: Setup) -> AsyncIterator[Session]:
    """Open the leanest single flight."""
    async with client_session(httpx, EventAuth(setup), setup) as session:
        yield session


@asynccontextmanager
async def open_own(setup: Setup) -> AsyncIterator[Session]:
    """Open the package."""
    async with client_session(httpx, own_auth(setup), setup) as session:
        yield session


@asynccontextmanager
async def open_lock(setup: Setup) -> AsyncIterator[Session]:
    """Open what people write."""
    async with (
        login_client() as logins,
        client_session(httpx, LockAuth(setup, logins), setup) as session,
    ):
        yield session


@contextmanager
def httpx_auth_of(setup: Setup) -> Iterator[OAuth2ClientCredentials]:
    """Return httpx-auth's auth: "Client Credentials flow", and "Managing token cache" for a folder."""
    # The process has one cache.
    OAuth2.token_cache = (
        TokenMemoryCache()
        if setup.folder is None
        else JsonTokenFileCache(Path(setup.folder) / "tokens.json")
    )
    with httpx.Client(trust_env=False) as login:
        yield OAuth2ClientCredentials(
            f"{setup.target.base_url}/oauth/token",
            client_id=setup.target.client_id,
            client_secret=setup.target.client_secret,
            early_expiry=_EARLY if setup.early is None else setup.early,
            client=login,
        )


@asynccontextmanager
async def open_httpx_auth(setup: Setup) -> AsyncIterator[Session]:
    """Open httpx-auth."""
    with httpx_auth_of(setup) as auth:
        async with client_session(httpx, auth, setup) as session:
            yield session


def own_auth(setup: Setup) -> TaxizerAuth:
    """Return the package's auth."""
    return TaxizerAuth(
        Credentials(setup.target.client_id, setup.target.client_secret),
        base_url=setup.target.base_url,
        store=setup.store,
        http_client=login_client,
    )


def login_client() -> httpx.AsyncClient:
    """Return a client for logins; loopback needs no proxy."""
    return httpx.AsyncClient(trust_env=False)


#: The floor of a crowd. It never renews, so it is no peer.
BARE_WAIT: Final = Contender(
    name="an event, and nothing else",
    kind="floor",
    library="httpx",
    open=open_event,
)
HTTPX: Final = (
    Contender(
        name="static header (httpx)",
        kind="floor",
        library="httpx",
        open=open_static,
    ),
    Contender(
        name="static header, leanest (httpx)",
        kind="floor",
        library="httpx",
        open=open_lean,
    ),
    Contender(
        name="taxizer_async (httpx)",
        kind="own",
        library="httpx",
        open=open_own,
    ),
    Contender(
        name="a lock in an httpx.Auth",
        kind="peer",
        library="httpx",
        open=open_lock,
    ),
    Contender(
        name="httpx-auth",
        kind="peer",
        library="httpx",
        open=open_httpx_auth,
        blocks=True,
    ),
)


@asynccontextmanager
async def client_session(
    library: Any,
    auth: Any,
    setup: Setup,
) -> AsyncIterator[Session]:
    """Open a client of *library* (httpx or httpx2) with *auth*."""
    async with (
        transported(library, setup) as transport,
        library.AsyncClient(
            auth=auth,
            base_url=setup.target.base_url,
            transport=transport,
            timeout=TIMEOUT,
            trust_env=False,
        ) as client,
    ):

        async def request() -> int:
            response = await client.post(PATH, content=BODY, headers=JSON)
            return int(response.status_code)

        attach = attaching(library, auth, setup)
        yield Session(request=request, attach=attach)


@asynccontextmanager
async def transported(library: Any, setup: Setup) -> AsyncIterator[Any]:
    """Yield the transport for a client of *library* (httpx or httpx2)."""
    limits = library.Limits(
        max_connections=setup.connections, max_keepalive_connections=setup.connections
    )
    pool = library.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def answer(request: Any) -> Any:
        if request.url.path == PATH:
            return library.Response(200)
        return await pool.handle_async_request(request)

    try:
        yield library.MockTransport(answer) if setup.in_memory else pool
    finally:
        await pool.aclose()


def attaching(library: Any, auth: Any, setup: Setup) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a function that drives *auth*, of *library* (httpx or httpx2), with a canned answer."""
    request = library.Request("POST", f"{setup.target.base_url}{PATH}", content=BODY, headers=JSON)
    response = library.Response(200, request=request)

    async def attach() -> None:
        # Like `AsyncClient._send_handling_auth` of both.
        flow = auth.async_auth_flow(request)
        try:
            await anext(flow)
            await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    return attach


async def _token_of(setup: Setup) -> str:
    # The requests of a floor are accepted, too.
    return (await own_auth(setup).token()).jwt.reveal()


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
