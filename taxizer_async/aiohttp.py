"""
For aiohttp: a client middleware that carries the token, and a session for an aiohttp server.

Needs the extra: `pip install "taxizer-async[aiohttp]"`. Logins go over httpx, on separate connections.
What a 401 means is decided in `_auth.bearer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, final

from taxizer_async._auth.base import AuthBase, bearer_of
from taxizer_async._auth.bearer import (
    DRAINED_BYTES,
    DRAINED_SECONDS,
    RESENDS,
    UNAUTHORIZED,
    place_of,
    tells_of_token,
)
from taxizer_async._auth.lifespan import check_store, log_end_of_keep_fresh
from taxizer_async._auth.on_httpx import TaxizerAuth
from taxizer_async._core.environment import find_base_url
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_loops import move_on_after
from taxizer_async._core.models import Credentials
from taxizer_async._token.cached_token import CachedToken


try:
    from aiohttp import (
        BytesPayload,
        ClientHandlerType,
        ClientMiddlewareType,
        ClientRequest,
        ClientResponse,
        ClientSession,
        IOBasePayload,
        MultipartWriter,
        hdrs,
        web,
    )
    from yarl import URL
except ImportError as _missing:
    _msg = 'taxizer_async.aiohttp needs aiohttp: pip install "taxizer-async[aiohttp]"'
    raise ImportError(_msg) from _missing


__all__ = [
    "TAXIZER_AUTH",
    "TAXIZER_SESSION",
    "TaxizerMiddleware",
    "auth_key",
    "open_session",
    "session_key",
    "taxizer_ctx",
]

#: Where `taxizer_ctx` puts the session of an application.
TAXIZER_SESSION: Final = web.AppKey("TAXIZER_SESSION", ClientSession)
#: Where `taxizer_ctx` puts the auth behind that session.
TAXIZER_AUTH: Final = web.AppKey("TAXIZER_AUTH", TaxizerAuth)

_OWN_OPTIONS: Final = ("base_url", "auth")


@functools.cache
def session_key(name: str) -> web.AppKey[ClientSession]:
    """Return where `taxizer_ctx(name=name)` puts the session; the same key each time."""
    return web.AppKey(f"TAXIZER_SESSION {name}", ClientSession)


@functools.cache
def auth_key(name: str) -> web.AppKey[TaxizerAuth]:
    """Return where `taxizer_ctx(name=name)` puts the auth; the same key each time."""
    return web.AppKey(f"TAXIZER_AUTH {name}", TaxizerAuth)


@final
class TaxizerMiddleware:
    """
    Logs in to Taxizer and puts the bearer token on every request of an `aiohttp.ClientSession`.

    ```python
    async with aiohttp.ClientSession(middlewares=[TaxizerMiddleware(auth)]) as session:
        await session.post(f"{auth.base_url}/v1/Invoices/GenerateInvoiceFromXml", json=invoice)
    ```

    `open_session` returns a session that has it, and the *base_url*.

    After a 401 that is about the token, the token is renewed and the request sent again, if its body can
    be: none, bytes, text, JSON, a form, and files that can be rewound, in a multipart form or not. aiohttp
    follows redirects above its middlewares: each hop is a separate request, and gets the token if it goes
    to the API. A session's timeout includes the time that a login takes. Of several middlewares this has to
    be the last: those before it see neither the token nor a 401 that it cures.

    `session.post(..., middlewares=...)` replaces the session's middlewares for that request, this one too, so
    the request goes without a token: name this one there again.

    Once there is a response, the token is gone from `response.request_info`, which aiohttp's errors show.

    Args:
        auth: Clients of httpx and aiohttp may share it, and with it one token.

    Raises:
        ConfigurationError: If *auth* is no `TaxizerAuth`.
    """

    __slots__ = ("_auth", "_bearer")

    def __init__(self, auth: AuthBase) -> None:
        self._bearer: Final = bearer_of(auth)
        self._auth: Final = auth

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType, /
    ) -> ClientResponse:
        """
        Send *request* with the token.

        Raises:
            AuthError: If there is no token; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
            RuntimeError: If the session was closed while the request waited for a token.
        """
        bearer = self._bearer
        url = request.url
        if not bearer.may_have_token(url.scheme, _host(request), url.port):
            return await handler(request)
        cached = bearer.cache.fresh() or await bearer.provider.acquire()
        try:
            resends = 0
            while True:
                if request.session.closed:
                    # While this waited for a token; aiohttp would fail an assertion.
                    msg = "Session is closed"
                    raise RuntimeError(msg)
                sent_at = bearer.now()
                request.headers[hdrs.AUTHORIZATION] = cached.authorization
                response = await handler(request)
                if response.status != UNAUTHORIZED:
                    if bearer.cache.state.listens and tells_of_token(response.status):
                        bearer.provider.note_acceptance(cached, _place(request), sent_at=sent_at)
                    return response
                is_worth = self._is_worth_renewing(cached, request, response, sent_at=sent_at)
                if not is_worth or resends == RESENDS or not _is_replayable(request.body):
                    return response
                replacement = await self._replacement_for(cached, response)
                if replacement is None:
                    return response
                cached = replacement
                resends += 1
                if hdrs.EXPECT in request.headers:
                    # The 401 ended the wait for "100 Continue", and a wait can't be used twice.
                    request.update_expect_continue()
        finally:
            # aiohttp's errors show the headers.
            request.headers.popall(hdrs.AUTHORIZATION, None)

    def _is_worth_renewing(
        self,
        cached: CachedToken,
        request: ClientRequest,
        response: ClientResponse,
        *,
        sent_at: float,
    ) -> bool:
        # A middleware below this one may have put another header there.
        if response.request_info.headers.getall(hdrs.AUTHORIZATION, []) != [cached.authorization]:
            return False
        challenge = ", ".join(response.headers.getall(hdrs.WWW_AUTHENTICATE, []))
        return self._bearer.is_worth_renewing(
            cached, _place(request), sent_at=sent_at, challenge=challenge
        )

    async def _replacement_for(
        self, cached: CachedToken, response: ClientResponse
    ) -> CachedToken | None:
        try:
            await _drain(response)
            return await self._bearer.replacement_for(cached)
        except BaseException:
            response.close()
            raise

    def __repr__(self) -> str:
        """Show no secret."""
        auth = getattr(self, "_auth", None)  # a traceback shows it before it is set up
        return f"<{type(self).__name__} of {auth!r}>"


def open_session(
    auth: AuthBase, /, *, middlewares: Sequence[ClientMiddlewareType] = (), **options: Any
) -> ClientSession:
    """
    Return a session whose requests are below the *base_url* of *auth*, and carry its token.

    ```python
    async with open_session(TaxizerAuth(Credentials.from_env)) as session:
        await session.post("/v1/Invoices/GenerateInvoiceFromXml", json=invoice)
    ```

    A path stays below the path of *base_url*, as with httpx: aiohttp by itself would replace that path.

    Args:
        auth: Clients of httpx and aiohttp may share it.
        middlewares: Those that come before the one that carries the token.
        **options: The other options of `aiohttp.ClientSession`.

    Raises:
        ConfigurationError: If *auth* is no `TaxizerAuth`, or *options* has a `base_url` or an `auth`.
    """
    own = _own_option(options)
    if own is not None:
        del options
        msg = f"open_session sets {own} itself, from the auth that it is given"
        raise ConfigurationError(msg)
    middleware = TaxizerMiddleware(auth)
    session = ClientSession(f"{auth.base_url}/", middlewares=(*middlewares, middleware), **options)
    # There is no public way to have paths joined otherwise.
    private: Any = session
    private._base_url = _BaseUrl(URL(f"{auth.base_url}/"))  # noqa: SLF001
    return session


@final
class _BaseUrl:
    """What aiohttp joins paths to, in place of a `URL`."""

    def __init__(self, url: URL) -> None:
        self._url: Final = url

    def join(self, path: URL) -> URL:
        return self._url.join(URL(f"./{str(path).lstrip('/')}", encoded=True))


def taxizer_ctx(
    make_auth: Callable[[], TaxizerAuth] | None = None,
    *,
    keep_fresh: bool = True,
    name: str | None = None,
    log_in_at_start: bool = False,
    middlewares: Sequence[ClientMiddlewareType] = (),
    **session_options: Any,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """
    Return a cleanup context that gives an application a session for Taxizer.

    ```python
    app = web.Application()
    app.cleanup_ctx.append(taxizer_ctx(timeout=aiohttp.ClientTimeout(10)))

    async def submit(request: web.Request) -> web.Response:
        session = request.app[TAXIZER_SESSION]
        async with session.post("/v1/Invoices/GenerateInvoiceFromXml", json=...) as answer:
            ...
    ```

    A token store is checked at the start, and what is wrong with it is logged. The application starts all
    the same: requests need no store, and one that is down for now must not keep all pods down.

    Args:
        make_auth: Called once, when the application starts. By default the credentials are those of the
            environment, read anew at each login, and `TAXIZER_BASE_URL` overrides the documented host.
        keep_fresh: Whether to renew the token ahead of need while the application runs, so that no request
            waits for that.
        name: Distinguishes the sessions of an application with several accounts; `session_key(name)` and
            `auth_key(name)` take the place of `TAXIZER_SESSION` and `TAXIZER_AUTH` then. The same name twice
            is a `ConfigurationError` at the start.
        log_in_at_start: Whether to log in before the application starts, and not to start if that fails: an
            `AuthError` ends the start then. It takes 30 s at most.
        middlewares: Those that come before the one that carries the token.
        **session_options: The other options of `aiohttp.ClientSession`.

    Raises:
        ConfigurationError: If *session_options* has a `base_url` or an `auth`.
    """
    own = _own_option(session_options)
    if own is not None:
        msg = f"taxizer_ctx sets {own} itself: pass make_auth= instead"
        del session_options
        raise ConfigurationError(msg)
    make = _auth_of_environment if make_auth is None else make_auth
    to_auth = TAXIZER_AUTH if name is None else auth_key(name)
    to_session = TAXIZER_SESSION if name is None else session_key(name)

    async def context(app: web.Application) -> AsyncGenerator[None]:
        # One that is closed is of an earlier start, which has ended or failed.
        if to_session in app and not app[to_session].closed:
            problem = "have no name" if name is None else f"are called {name!r}"
            msg = f"two taxizer_ctx of one application {problem}: give each its own name="
            raise ConfigurationError(msg)
        auth = make()
        async with open_session(auth, middlewares=middlewares, **session_options) as session:
            app[to_auth] = auth
            app[to_session] = session
            await check_store(auth)
            if log_in_at_start:
                await auth.token()
            async with _kept_fresh(auth) if keep_fresh else contextlib.nullcontext():
                yield

    return context


def _own_option(options: Mapping[str, object]) -> str | None:
    return next((name for name in _OWN_OPTIONS if name in options), None)


def _host(request: ClientRequest) -> bytes:
    # In a redirect that aiohttp was told not to requote it may hold any character.
    return (request.url.raw_host or "").encode("ascii", "backslashreplace")


def _place(request: ClientRequest) -> str:
    url = request.url
    return place_of(request.method, url.scheme, _host(request), url.port, url.raw_path)


def _is_replayable(body: object) -> bool:
    """Return whether *body*, which was sent, can be sent again."""
    if not body or isinstance(body, BytesPayload):
        return True
    if isinstance(body, MultipartWriter):
        return all(_is_replayable(part) for part, _, _ in body)
    # aiohttp rewinds a file to where it was, and marks one that can't be rewound.
    return isinstance(body, IOBasePayload) and not getattr(body, "consumed", True)


async def _drain(response: ClientResponse) -> None:
    """Free the connection of a 401, which the refresh may need; what was read becomes the response's body."""
    body = bytearray()
    with move_on_after(DRAINED_SECONDS), contextlib.suppress(Exception):
        while len(body) <= DRAINED_BYTES and (chunk := await response.content.readany()):
            body += chunk
    if not response.content.at_eof():
        response.close()
    # There is no public way to mark the response as read.
    private: Any = response
    private._body = bytes(body)  # noqa: SLF001


def _auth_of_environment() -> TaxizerAuth:
    Credentials.from_env()
    return TaxizerAuth(Credentials.from_env, base_url=find_base_url())


@contextlib.asynccontextmanager
async def _kept_fresh(auth: TaxizerAuth) -> AsyncGenerator[None]:
    # Not in a task group, as an application may be started and cleaned up in different tasks.
    task = asyncio.create_task(auth.keep_fresh(), name="taxizer_async.keep_fresh")
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


def _log_failure(task: asyncio.Task[None]) -> None:
    failure = None if task.cancelled() else task.exception()
    if failure is not None:
        log_end_of_keep_fresh(failure)
