"""
The rule of a request, for every HTTP library: where the token may go, and what a 401 means.

No HTTP library's request is known here.
"""

from __future__ import annotations

import random

from collections.abc import Callable
from typing import Final, final

from taxizer_async._auth.options import AuthOptions
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import OriginSkipped
from taxizer_async._http.headers import lacks_scope
from taxizer_async._http.library import HttpLibrary
from taxizer_async._http.token_endpoints import CONNECT_PATH, REFRESH_PATH, HttpExchange
from taxizer_async._http.urls import DEFAULT_PORTS, endpoint_url, origin_of
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import Failure
from taxizer_async._token.places import Verdict
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore


UNAUTHORIZED: Final = 401
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500
#: How often a request is sent again. The second time helps if the new token was revoked in its turn while
#: the request was queued, or if it came from a refresh and only a login brings a good one.
RESENDS: Final = 2

#: Bytes and seconds spent on reading the body of a 401, so that its connection can be used again.
DRAINED_BYTES: Final = 256 * 1024
DRAINED_SECONDS: Final = 1.0


@final
class Bearer:
    """
    Wires up the token of one auth, and answers its adapters; logins go over *library*.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    def __init__(self, options: AuthOptions, library: HttpLibrary) -> None:
        origins = options.validate()
        url = origins[0]
        policy, clock = options.policy, options.clock
        self.options: Final = options
        self.library: Final = library
        self.base_url: Final = str(url).rstrip("/")
        #: The parts of the base URL's origin, as httpx spells them.
        self.scheme: Final = url.scheme
        self.host: Final = url.raw_host
        self.port: Final = url.port
        self._origins: Final = frozenset(
            origin_of(each.scheme, each.raw_host, each.port) for each in origins
        )
        self._skipped: Final[set[str]] = set()
        self.exchange: Final = HttpExchange(
            base_url=url,
            policy=policy,
            clock=clock,
            random=random.random,
            library=library,
            http_client=options.http_client,
        )
        self.event_log: Final = EventLog(options.on_event, timeout=policy.hook_timeout)
        self.provider: Final = TokenProvider(
            endpoints=Endpoints(
                base_url=self.base_url,
                connect=str(endpoint_url(url, CONNECT_PATH)),
                refresh=str(endpoint_url(url, REFRESH_PATH)),
            ),
            credentials=options.source,
            exchange=self.exchange,
            store=MemoryTokenStore(clock=clock) if options.store is None else options.store,
            policy=policy,
            clock=clock,
            random=random.random,
            event_log=self.event_log,
        )
        # Bound once, as each request uses both.
        self.cache: Final = self.provider.cache
        self.now: Final[Callable[[], float]] = clock.monotonic

    def is_worth_renewing(
        self, cached: CachedToken, place: str, *, sent_at: float, challenge: str | None
    ) -> bool:
        """
        Note that *place* answered 401; return whether to send the request again with another token.

        *cached* was sent at *sent_at* (`Clock.monotonic`), and *challenge* is the `WWW-Authenticate`.
        """
        if lacks_scope(challenge):
            return False
        return self.provider.note_refusal(cached, place, sent_at=sent_at) is not Verdict.HAND_BACK

    async def replacement_for(self, cached: CachedToken) -> CachedToken | None:
        """
        Return the token to use instead of *cached*, which was refused; None if that is good elsewhere.

        Raises:
            AuthError: If there is no other.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        found = await self.provider.replacement_for(cached)
        if isinstance(found, Failure):
            raise found.error()
        return found

    def may_have_token(self, scheme: str, host: bytes, port: int | None) -> bool:
        """Return whether the token may go to this origin; warn once of each that it may not go to."""
        origin = origin_of(scheme, host, port)
        if origin in self._origins:
            return True
        scheme, host, port = origin
        name = f"{scheme}://{host.decode()}:{port}"
        if name not in self._skipped:
            self._skipped.add(name)
            self.event_log.emit(OriginSkipped(origin=name))
        return False


def place_of(method: str, scheme: str, host: bytes, port: int | None, path: str) -> str:
    """Return the name of a place, the same from every HTTP library; *path* has no query."""
    http, host, port = origin_of(scheme, host, port)
    netloc = f"[{host.decode()}]" if b":" in host else host.decode()
    if port != DEFAULT_PORTS.get(http):
        netloc += f":{port}"
    return f"{method} {scheme}://{netloc}{path}"


def tells_of_token(status: int) -> bool:
    """Return whether *status* shows that the token was accepted: a gateway may send the others by itself."""
    return status < _SERVER_ERRORS and status != _TOO_MANY_REQUESTS
