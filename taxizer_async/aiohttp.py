"""
For aiohttp: a client middleware that carries the token, and a session of a server's own.

Needs the extra: `pip install "taxizer-async[aiohttp]"`. Logins go over httpx, on connections of their
own. What is done is `_flow`'s: here are but the views that it has of aiohttp's requests, and who runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from typing import TYPE_CHECKING, Any, Final, Protocol, final

from taxizer_async._auth import TaxizerAuth
from taxizer_async._errors import ConfigurationError
from taxizer_async._flow import AuthFlow
from taxizer_async._models import Credentials, find_base_url


try:
    from aiohttp import BytesPayload, ClientSession, hdrs, web
except ImportError as _missing:
    _msg = 'taxizer_async.aiohttp needs aiohttp: pip install "taxizer-async[aiohttp]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from aiohttp import (
        ClientHandlerType,
        ClientMiddlewareType,
        ClientRequest,
        ClientResponse,
    )
    from aiohttp.client_reqrep import RequestInfo
    from yarl import URL


__all__ = ["TAXIZER_AUTH", "TAXIZER_SESSION", "TaxizerMiddleware", "taxizer_ctx"]

#: Where `taxizer_ctx` puts the session of an application.
TAXIZER_SESSION: Final = web.AppKey("TAXIZER_SESSION", ClientSession)
#: Where `taxizer_ctx` puts the auth behind that session.
TAXIZER_AUTH: Final = web.AppKey("TAXIZER_AUTH", TaxizerAuth)

_OWN_OPTIONS: Final = ("base_url", "auth")

_log: Final = logging.getLogger("taxizer_async")


class HasFlow(Protocol):
    """A `TaxizerAuth`, be it of httpx or of httpx2."""

    @property
    def flow(self) -> AuthFlow:
        """What it does."""
        ...


@final
class TaxizerMiddleware:
    """
    Logs in to Taxizer and carries the bearer token on every request of an `aiohttp.ClientSession`.

    ```python
    auth = TaxizerAuth(Credentials.from_env)
    async with aiohttp.ClientSession(auth.base_url, middlewares=[TaxizerMiddleware(auth)]) as session:
        await session.post("/v1/Invoices/GenerateInvoice", json=invoice)
    ```

    A 401 that is about the token has it renewed, and the request sent once more if its body is none,
    bytes, text, JSON or a form without files. aiohttp follows redirects above its middlewares: each hop
    is a request of its own, and has the token if it goes to the API. A session's timeout counts the
    time that a login takes. Give it as the last of several middlewares: those before it see neither the
    token nor a 401 that it cures.

    The token is gone from `response.request_info` when a response is there, as aiohttp's errors show
    that in their repr.

    Args:
        auth: Any clients, be they of httpx or aiohttp, may share it, and with it one token.

    Raises:
        ConfigurationError: If *auth* is no `TaxizerAuth`.
    """

    __slots__ = ("_auth",)

    def __init__(self, auth: HasFlow) -> None:
        if not isinstance(getattr(auth, "flow", None), AuthFlow):
            msg = f"auth must be a TaxizerAuth, not {type(auth).__name__}"
            raise ConfigurationError(msg)
        self._auth: Final = auth

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType, /
    ) -> ClientResponse:
        """
        Send *request* with the token.

        Raises:
            AuthError: If no token can be had; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        view = _Request(request)
        flow = self._auth.flow.run(view, _is_replayable)
        try:
            async with contextlib.aclosing(flow):
                await anext(flow)
                while True:
                    response = await handler(request)
                    if not await _goes_on(flow, response):
                        return response
                    view.prepare_again()
        finally:
            view.take_back()

    def __repr__(self) -> str:
        """Show no secret."""
        auth = getattr(self, "_auth", None)  # a traceback shows it before it is set up
        return f"<{type(self).__name__} of {auth!r}>"


def taxizer_ctx(
    make_auth: Callable[[], TaxizerAuth] | None = None,
    *,
    keep_fresh: bool = True,
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
        async with session.post("/v1/Invoices/GenerateInvoice", json=...) as answer:
            ...
    ```

    Args:
        make_auth: Is called once, when the application starts. By default the credentials are those of
            the environment, read anew at each login, and `TAXIZER_BASE_URL` overrides the documented
            host.
        keep_fresh: Whether the token is renewed ahead of need for as long as the application runs, so
            that no request ever waits for that.
        middlewares: Those that come before the one that carries the token.
        **session_options: All else that `aiohttp.ClientSession` takes.

    Raises:
        ConfigurationError: If *session_options* has an address or an auth of its own.
    """
    own = next((name for name in _OWN_OPTIONS if name in session_options), None)
    if own is not None:
        msg = f"taxizer_ctx brings its own {own}: give make_auth="
        del session_options
        raise ConfigurationError(msg)
    make = _auth_of_environment if make_auth is None else make_auth

    async def context(app: web.Application) -> AsyncGenerator[None]:
        auth = make()
        # With the slash, without which aiohttp takes no base URL that has a path.
        async with ClientSession(
            f"{auth.base_url}/",
            middlewares=(*middlewares, TaxizerMiddleware(auth)),
            **session_options,
        ) as session:
            app[TAXIZER_AUTH] = auth
            app[TAXIZER_SESSION] = session
            async with _kept_fresh(auth) if keep_fresh else contextlib.nullcontext():
                yield

    return context


@final
class _Headers:
    """Those of a request or a response; what is there more than once is joined, as httpx does."""

    __slots__ = ("_of", "are_changed")

    def __init__(self, of: Any) -> None:
        self._of: Final[Any] = of
        self.are_changed = False

    def get(self, name: str, /) -> str | None:
        values: list[str] = self._of.headers.getall(name, [])
        return ", ".join(values) if values else None

    def __setitem__(self, name: str, value: str, /) -> None:
        self.are_changed = True
        self._of.headers[name] = value


@final
class _Url:
    __slots__ = ("_url",)

    def __init__(self, url: URL) -> None:
        self._url: Final = url

    @property
    def scheme(self) -> str:
        return self._url.scheme

    @property
    def raw_host(self) -> bytes:
        # In a redirect that aiohttp was told not to requote it may be anything.
        return (self._url.raw_host or "").encode("ascii", "backslashreplace")

    @property
    def port(self) -> int | None:
        return self._url.port


@final
class _Request:
    __slots__ = ("headers", "request")

    def __init__(self, request: ClientRequest) -> None:
        self.request: Final = request
        self.headers: Final = _Headers(request)

    @property
    def url(self) -> _Url:
        return _Url(self.request.url)

    def prepare_again(self) -> None:
        """Have it wait for "100 Continue" anew: a wait that a 401 cut short can't be taken up again."""
        if hdrs.EXPECT in self.request.headers:
            self.request.update_expect_continue()

    def take_back(self) -> None:
        """Take the token, which was sent, out of what aiohttp's errors show of the request."""
        if self.headers.are_changed:
            self.request.headers.popall(hdrs.AUTHORIZATION, None)


@final
class _Sent:
    __slots__ = ("headers",)

    def __init__(self, info: RequestInfo) -> None:
        self.headers: Final = _Headers(info)


@final
class _Response:
    __slots__ = ("_response",)

    def __init__(self, response: ClientResponse) -> None:
        self._response: Final = response

    @property
    def status_code(self) -> int:
        return self._response.status

    @property
    def headers(self) -> _Headers:
        return _Headers(self._response)

    @property
    def request(self) -> _Sent:
        return _Sent(self._response.request_info)

    async def aread(self) -> bytes:
        return await self._response.read()


def _is_replayable(request: _Request) -> bool:
    # Files and multiparts with files can be rewound at times only, and iterators never.
    body = request.request.body
    return not body or isinstance(body, BytesPayload)


async def _goes_on(flow: AsyncGenerator[_Request, _Response], response: ClientResponse) -> bool:
    """Say whether the request is to be sent again."""
    try:
        await flow.asend(_Response(response))
    except StopAsyncIteration:
        return False
    except BaseException:
        response.close()
        raise
    return True


def _auth_of_environment() -> TaxizerAuth:
    Credentials.from_env()
    return TaxizerAuth(Credentials.from_env, base_url=find_base_url())


@contextlib.asynccontextmanager
async def _kept_fresh(auth: TaxizerAuth) -> AsyncGenerator[None]:
    # A task group would not do: an application may be started and cleaned up in different tasks.
    keeper = asyncio.create_task(auth.keep_fresh(), name="taxizer_async.keep_fresh")
    keeper.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        if not keeper.cancelled():
            keeper.result()


def _tell_failure(keeper: asyncio.Task[None]) -> None:
    failure = None if keeper.cancelled() else keeper.exception()
    if failure is not None:
        _log.error("keep_fresh has failed, so requests renew the token", exc_info=failure)
