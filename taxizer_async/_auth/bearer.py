"""
The rule of a request, for every HTTP library: where the token may go, and what a 401 means.

It joins the life of the token with the two calls that get one. No HTTP library's request is known here.
"""

from __future__ import annotations

import random

from typing import TYPE_CHECKING, Final, final

from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import OriginSkipped
from taxizer_async._http.headers import lacks_scope
from taxizer_async._http.token_endpoints import CONNECT_PATH, REFRESH_PATH, HttpExchange
from taxizer_async._http.urls import endpoint_url, origin_of
from taxizer_async._token.failures import Failure
from taxizer_async._token.places import Verdict
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._auth.options import AuthOptions
    from taxizer_async._core.models import Token
    from taxizer_async._http.library import HttpLibrary
    from taxizer_async._token.cached_token import CachedToken


UNAUTHORIZED: Final = 401
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500
#: How often a request is sent again. The second time is for a token that did work, and was replaced or
#: revoked while the request was queued, and for a login after a renewal that did not help.
RESENDS: Final = 2

#: Bytes and seconds that are spent on the body of a 401, so that its connection can be used again.
DRAINED_BYTES: Final = 256 * 1024
DRAINED_SECONDS: Final = 1.0


@final
class Bearer:
    """
    Carries the one token of *options*; logins go over *library*.

    Attributes:
        base_url: Where the API is, in one spelling.
        scheme: Of that …
        host: … its host …
        port: … and its port, as httpx spells them.
        provider: Owns the token.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    def __init__(self, options: AuthOptions, library: HttpLibrary) -> None:
        url, origins = options.validate()
        policy, clock = options.policy, options.clock
        self.options: Final = options
        self.library: Final = library
        self.base_url: Final = str(url).rstrip("/")
        self.scheme: Final = url.scheme
        self.host: Final = url.raw_host
        self.port: Final = url.port
        self._origins: Final = frozenset(
            origin_of(each.scheme, each.raw_host, each.port) for each in origins
        )
        self._skipped: Final[set[str]] = set()
        self.event_log: Final = EventLog(options.on_event, timeout=policy.hook_timeout)
        self.provider: Final = TokenProvider(
            endpoints=Endpoints(
                base_url=self.base_url,
                connect=str(endpoint_url(url, CONNECT_PATH)),
                refresh=str(endpoint_url(url, REFRESH_PATH)),
            ),
            credentials=options.source,
            exchange=HttpExchange(
                base_url=url,
                policy=policy,
                clock=clock,
                random=random.random,
                library=library,
                http_client=options.http_client,
            ),
            store=MemoryTokenStore(clock=clock) if options.store is None else options.store,
            policy=policy,
            clock=clock,
            random=random.random,
            event_log=self.event_log,
        )
        # Bound once, as each request asks both.
        self.cache: Final = self.provider.cache
        self.now: Final[Callable[[], float]] = clock.monotonic

    async def token(self) -> Token:
        """
        Return a usable token; log in or renew if it takes that.

        Raises:
            AuthError: If none can be had; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        return (self.cache.fresh() or await self.provider.acquire()).token

    def is_worth_renewing(
        self, cached: CachedToken, place: str, *, sent_at: float, challenge: str | None
    ) -> bool:
        """
        Note a 401, and return whether the request is worth sending again with another token.

        Args:
            cached: The token that was refused.
            place: Where it was sent.
            sent_at: When it was sent (`Clock.monotonic`).
            challenge: The answer's `WWW-Authenticate`.
        """
        if lacks_scope(challenge):
            return False
        return self.provider.note_refusal(cached, place, sent_at=sent_at) is not Verdict.HAND_BACK

    async def replacement_for(self, cached: CachedToken) -> CachedToken | None:
        """
        Return the token to use instead of *cached*, which was refused; None if that is good elsewhere.

        Raises:
            AuthError: If there is no other.
            ConfigurationError: Likewise, as the user's part is at fault.
        """
        found = await self.provider.replacement_for(cached)
        if isinstance(found, Failure):
            raise found.error()
        return found

    def may_have_token(self, scheme: str, host: bytes, port: int | None) -> bool:
        """Return whether the token may go there; warn once of each origin that it may not go to."""
        origin = origin_of(scheme, host, port)
        if origin in self._origins:
            return True
        scheme, host, port = origin
        name = f"{scheme}://{host.decode()}:{port}"
        if name not in self._skipped:
            self._skipped.add(name)
            self.event_log.emit(OriginSkipped(origin=name))
        return False

    def describe(self, name: str) -> str:
        """Return a repr of the object called *name* that this is in."""
        return f"<{name} for {self.base_url}, token: {self.provider.status().state.value}>"


def place_of(method: str, scheme: str, netloc: str, path: str) -> str:
    """Return the place of a request: *path* has no query."""
    return f"{method} {scheme}://{netloc}{path}"


def tells_of_token(status: int) -> bool:
    """Return whether *status* says if the token is good: a gateway may give the others by itself."""
    return status < _SERVER_ERRORS and status != _TOO_MANY_REQUESTS
