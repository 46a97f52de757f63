"""
What an auth class of any HTTP library does, without being one: attach the token, answer 401s.

The flow is a generator that may be closed in another task, dropped or never finished, so it owns
nothing: no lock is held and nothing waits to be undone across a `yield`.
"""

from __future__ import annotations

import ipaddress
import random

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, final

from taxizer_async._base_url import endpoint_url
from taxizer_async._errors import ConfigurationError
from taxizer_async._events import OriginSkipped
from taxizer_async._exchange import CONNECT_PATH, REFRESH_PATH, HttpExchange
from taxizer_async._headers import lacks_scope
from taxizer_async._reporter import Reporter
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taxizer_async._arguments import Arguments
    from taxizer_async._http_library import HttpLibrary
    from taxizer_async._models import Token
    from taxizer_async._token.cached_token import CachedToken


_UNAUTHORIZED: Final = 401
#: The second is for a token that did work and was replaced or revoked while the resend was queued: one
#: that never worked is not replaced again, so its 401 is handed back after the first.
_RESENDS: Final = 2
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


Origin: TypeAlias = tuple[str, bytes, int | None]


class Url(Protocol):
    """What is looked at of a request's URL."""

    @property
    def scheme(self) -> str: ...

    @property
    def raw_host(self) -> bytes: ...

    @property
    def port(self) -> int | None: ...


class Headers(Protocol):
    """What is looked at of headers, whose names have no case; one that is there twice is joined."""

    def get(self, name: str, /) -> str | None: ...


class MutableHeaders(Headers, Protocol):
    """What is done with headers."""

    def __setitem__(self, name: str, value: str, /) -> None: ...


class Request(Protocol):
    """What is looked at and changed of a request."""

    @property
    def url(self) -> Url: ...

    @property
    def headers(self) -> MutableHeaders: ...


class Sent(Protocol):
    """What is looked at of a request that was answered."""

    @property
    def headers(self) -> Headers: ...


class Response(Protocol):
    """What is looked at of a response; *request* is the last one, if there were redirects."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def request(self) -> Sent: ...

    async def aread(self) -> object: ...


RequestT = TypeVar("RequestT", bound=Request)


@final
class AuthFlow:
    """
    The one token of *arguments*, on requests of any library; logins go over *library*.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    def __init__(self, arguments: Arguments, library: HttpLibrary) -> None:
        url, origins = arguments.checked()
        policy, clock = arguments.policy, arguments.clock
        self.arguments: Final = arguments
        self.base_url: Final = str(url).rstrip("/")
        self._scheme: Final = url.scheme
        self._host: Final = url.raw_host
        self._port: Final = url.port
        self._origins: Final = frozenset(map(_origin, origins))
        self._skipped: Final[set[str]] = set()
        self.reporter: Final = Reporter(arguments.on_event, timeout=policy.hook_timeout)
        self.provider: TokenProvider = TokenProvider(
            endpoints=Endpoints(
                base_url=self.base_url,
                connect=str(endpoint_url(url, CONNECT_PATH)),
                refresh=str(endpoint_url(url, REFRESH_PATH)),
            ),
            credentials=arguments.source,
            exchange=HttpExchange(
                base_url=url,
                policy=policy,
                clock=clock,
                random=random.random,
                library=library,
                http_client=arguments.http_client,
            ),
            store=MemoryTokenStore(clock=clock) if arguments.store is None else arguments.store,
            policy=policy,
            clock=clock,
            random=random.random,
            reporter=self.reporter,
        )
        self._fresh = self.provider.fresh

    async def token(self) -> Token:
        """
        Return a usable token; log in or renew if it takes that.

        Raises:
            AuthError: If none can be had; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        return (self._fresh() or await self.provider.acquire()).token

    def describe(self, name: str) -> str:
        """Return a repr of the object called *name* that this is in."""
        return f"<{name} for {self.base_url}, token: {self.provider.status().state.value}>"

    async def run(
        self, request: RequestT, is_replayable: Callable[[RequestT], bool]
    ) -> AsyncGenerator[RequestT, Response]:
        """
        Carry the token; on a 401 that is about it, renew it and send the request once more.

        *is_replayable* says whether the body of a request that was sent can be sent again.
        """
        url = request.url
        # Most go to the API itself, and a tuple made and hashed for each would cost more.
        is_home = (
            url.raw_host == self._host and url.port == self._port and url.scheme == self._scheme
        )
        if not is_home and _origin(url) not in self._origins:
            self._warn_once(url)
            yield request
            return
        resends = _RESENDS
        while True:
            held = self._fresh() or await self.provider.acquire()
            request.headers["Authorization"] = held.authorization
            response = yield request
            if response.status_code != _UNAUTHORIZED:
                if not held.accepted:
                    self.provider.accept(held)
                return
            another = _concerns(response, held) and self.provider.refuse(held)
            if not (another and resends and is_replayable(request)):
                return
            resends -= 1
            # Frees the connection, as waiting with it in hand may starve who renews.
            await response.aread()

    def _warn_once(self, url: Url) -> None:
        scheme, host, port = _origin(url)
        origin = f"{scheme}://{host.decode()}:{port}"
        if origin in self._skipped:
            return
        self._skipped.add(origin)
        self.reporter.add(OriginSkipped(origin=origin))


def sync_refusal(library: HttpLibrary) -> ConfigurationError:
    """Return what a sync flow raises."""
    return ConfigurationError(
        f"TaxizerAuth is async only, and was given to a sync {library.name}.Client: use "
        f"{library.name}.AsyncClient, or a TaxizerClient"
    )


def _origin(url: Url) -> Origin:
    port = url.port or _DEFAULT_PORTS.get(url.scheme)
    return url.scheme, _one_spelling(url.raw_host.lower()), port


def _one_spelling(host: bytes) -> bytes:
    # httpx leaves an IPv6 address as it is written, and others do not.
    try:
        return ipaddress.ip_address(host.decode()).compressed.encode() if b":" in host else host
    except ValueError:
        return host


def _concerns(response: Response, held: CachedToken) -> bool:
    """Say whether a 401 is about the token: after a redirect it may not have been sent at all."""
    if response.request.headers.get("Authorization") != held.authorization:
        return False
    return not lacks_scope(response.headers.get("WWW-Authenticate"))
