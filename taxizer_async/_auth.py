"""
TaxizerAuth: puts the token on requests and answers 401s, by the rules of `httpx.Auth`.

Its flow is a generator that may be closed in another task, dropped or never finished, so it owns
nothing: no lock is held and nothing waits to be undone across a `yield`.
"""

from __future__ import annotations

import functools
import random

from typing import TYPE_CHECKING, Final, Self

import httpx

from taxizer_async._arguments import Arguments
from taxizer_async._base_url import endpoint_url
from taxizer_async._errand import Endpoints
from taxizer_async._errors import ConfigurationError
from taxizer_async._events import OriginSkipped
from taxizer_async._exchange import (
    CONNECT_PATH,
    REFRESH_PATH,
    HttpExchange,
)
from taxizer_async._headers import lacks_scope
from taxizer_async._models import DEFAULT_BASE_URL
from taxizer_async._provider import TokenProvider
from taxizer_async._reporter import Reporter
from taxizer_async.stores import MemoryTokenStore


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from taxizer_async._clock import Clock
    from taxizer_async._credentials_source import CredentialsLike
    from taxizer_async._exchange import HttpClientFactory
    from taxizer_async._held import Held
    from taxizer_async._models import AuthStatus, Token
    from taxizer_async._policy import RenewalPolicy
    from taxizer_async._reporter import EventHook
    from taxizer_async.stores import TokenStore


_UNAUTHORIZED: Final = 401
#: The second is for a token that did work and was replaced or revoked while the resend was queued: one
#: that never worked is not replaced again, so its 401 is handed back after the first.
_RESENDS: Final = 2
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class TaxizerAuth(httpx.Auth):
    """
    Logs in to Taxizer and carries the bearer token on every request of an `httpx.AsyncClient`.

    One object may be shared by any number of clients, tasks, event loops and threads, one after the
    other or at once, and survives a fork: all of them use one token. It owns no connection and needs no
    closing.

    Args:
        credentials: A `Credentials`, or a sync or async callable that returns one and is asked anew for
            each login.
        base_url: Where the API is; https, or http on loopback.
        store: Where the token is shared; by default this object's memory.
        policy: All durations and limits.
        http_client: Returns a fresh `httpx.AsyncClient`, which carries one login or renewal and is
            closed then. Give it for a proxy, a CA of your own or a test transport. It is called in a
            worker thread, as making a client reads files.
        on_event: Is called with each event, sync (it must be quick) or async.
        extra_origins: Origins beside that of *base_url* that the token may be sent to.
        clock: For tests.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    def __init__(
        self,
        credentials: CredentialsLike,
        *,
        base_url: str = DEFAULT_BASE_URL,
        store: TokenStore | None = None,
        policy: RenewalPolicy | None = None,
        http_client: HttpClientFactory | None = None,
        on_event: EventHook | None = None,
        extra_origins: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        arguments = Arguments(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # The frames of a traceback may be captured with their arguments.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        self._set_up(arguments)

    @classmethod
    def from_arguments(cls, arguments: Arguments) -> Self:
        """Build it without having its arguments in a frame; for `TaxizerClient`."""
        auth = cls.__new__(cls)
        auth._set_up(arguments)  # noqa: SLF001 - its own
        return auth

    def _set_up(self, arguments: Arguments) -> None:
        url, origins = arguments.checked()
        policy, clock = arguments.policy, arguments.clock
        self._arguments = arguments
        self._base_url = str(url).rstrip("/")
        self._origins = frozenset(map(_origin, origins))
        self._skipped: set[str] = set()
        self._reporter = Reporter(arguments.on_event, timeout=policy.hook_timeout)
        self._provider = TokenProvider(
            endpoints=Endpoints(
                base_url=self._base_url,
                connect=str(endpoint_url(url, CONNECT_PATH)),
                refresh=str(endpoint_url(url, REFRESH_PATH)),
            ),
            credentials=arguments.source,
            exchange=HttpExchange(
                base_url=url,
                policy=policy,
                clock=clock,
                random=random.random,
                http_client=arguments.http_client,
            ),
            store=MemoryTokenStore(clock=clock) if arguments.store is None else arguments.store,
            policy=policy,
            clock=clock,
            random=random.random,
            reporter=self._reporter,
        )
        self._fresh = self._provider.fresh

    @property
    def base_url(self) -> str:
        """Where the API is, in one spelling."""
        return self._base_url

    async def token(self) -> Token:
        """
        Return a usable token; log in or renew if it takes that.

        Raises:
            AuthError: If none can be had; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        return (self._fresh() or await self._provider.acquire()).token

    async def keep_fresh(self) -> None:
        """
        Renew ahead of need until cancelled, so that no request ever waits for that.

        Failures are logged, reported and tried again, never raised:
        `task_group.start_soon(auth.keep_fresh)`.
        """
        await self._provider.keep_fresh()

    def status(self) -> AuthStatus:
        """Return what a health endpoint may show."""
        return self._provider.status()

    async def forget(self) -> None:
        """
        Drop the token here and in the store; the next request logs in.

        Raises:
            TokenStoreError: If the store could not drop it; here it is dropped.
            AuthError: If a credentials callable failed, so that it is unknown whose token it is.
        """
        await self._provider.forget()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Carry the token; on a 401 that is about it, renew it and send the request once more."""
        if _origin(request.url) not in self._origins:
            await self._warn_once(request.url)
            yield request
            return
        held = self._fresh() or await self._provider.acquire()
        for _ in range(_RESENDS):
            _attach(request, held)
            response = yield request
            if not self._is_worth_another(request, response, held):
                break
            # Frees the connection, as waiting with it in hand may starve who renews.
            await response.aread()
            await self._reporter.deliver()
            held = self._fresh() or await self._provider.acquire()
        else:
            _attach(request, held)
            response = yield request
            self._is_worth_another(request, response, held)
        if response.status_code == _UNAUTHORIZED:
            await self._reporter.deliver()

    def _is_worth_another(
        self, request: httpx.Request, response: httpx.Response, held: Held
    ) -> bool:
        """Take note of what the server said to the token; say whether to send the request again."""
        if response.status_code != _UNAUTHORIZED:
            if not held.accepted:
                self._provider.accept(held)
            return False
        if not _concerns(response, held):
            return False
        return self._provider.refuse(held) and _is_replayable(request)

    def sync_auth_flow(
        self,
        request: httpx.Request,  # noqa: ARG002 - httpx's signature
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """
        Refuse to work.

        Raises:
            ConfigurationError: Always.
        """
        msg = (
            "TaxizerAuth is async only, and was given to a sync httpx.Client: use httpx.AsyncClient, "
            "or taxizer_async.TaxizerClient"
        )
        raise ConfigurationError(msg)

    def __repr__(self) -> str:
        if not hasattr(self, "_provider"):  # a traceback shows it before it is set up
            return f"<{type(self).__name__}>"
        state = self.status().state.value
        return f"<{type(self).__name__} for {self._base_url}, token: {state}>"

    def __reduce__(self) -> tuple[Callable[[], TaxizerAuth], tuple[()]]:
        """Pickle the arguments, never the token; credentials given by value refuse to be pickled."""
        return functools.partial(type(self), **self._arguments.given), ()

    async def _warn_once(self, url: httpx.URL) -> None:
        origin = "{}://{}:{}".format(*_origin(url))
        if origin in self._skipped:
            return
        self._skipped.add(origin)
        self._reporter.add(OriginSkipped(origin=origin))
        await self._reporter.deliver()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    port = url.port or _DEFAULT_PORTS.get(url.scheme)
    return url.scheme, url.raw_host.decode("ascii").lower(), port


def _bearer(held: Held) -> str:
    return f"Bearer {held.token.jwt.reveal()}"


def _attach(request: httpx.Request, held: Held) -> None:
    request.headers["Authorization"] = _bearer(held)


def _concerns(response: httpx.Response, held: Held) -> bool:
    """Say whether a 401 is about the token: after a redirect it may not have been sent at all."""
    if response.request.headers.get("Authorization") != _bearer(held):
        return False
    return not lacks_scope(response.headers.get("WWW-Authenticate"))


def _is_replayable(request: httpx.Request) -> bool:
    # Other streams are consumed, and would be sent again as an empty or a shorter body.
    return isinstance(request.stream, httpx.ByteStream)
