"""
What a client tells its operator: one class for each thing that can happen.

Events have plain fields and hold no secret. `_core.event_log` hands them out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeAlias

import attrs


#: Which token endpoint was asked: Connect or AppRefreshToken.
ExchangeKind: TypeAlias = Literal["connect", "refresh"]


@attrs.frozen(kw_only=True)
class _Timed:
    """An event that says when it happened: *at* is aware, in UTC, by this machine's clock."""

    at: datetime = attrs.field(factory=partial(datetime.now, UTC), eq=False, repr=False)


@attrs.frozen(kw_only=True)
class LoggedIn(_Timed):
    """
    Connect, at the URL *endpoint*, issued a token.

    That took *elapsed* seconds, retries included, and ended *at*.
    """

    elapsed: float
    expires_at: datetime | None
    endpoint: str | None = None


@attrs.frozen(kw_only=True)
class Renewed(_Timed):
    """
    AppRefreshToken, at the URL *endpoint*, issued a token.

    That took *elapsed* seconds and ended *at*.
    """

    elapsed: float
    expires_at: datetime | None
    endpoint: str | None = None


@attrs.frozen(kw_only=True)
class Adopted:
    """This client took over a token that another one had saved in the store."""

    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class RefreshRefused(_Timed):
    """
    AppRefreshToken refused or failed, and a login follows.

    That took *elapsed* seconds and ended *at*. *error* is the name of
    `TokenEndpointUnavailableError` or `TokenResponseError`.
    """

    reason: str
    status_code: int | None
    elapsed: float = 0.0
    error: str = "AuthError"


@attrs.frozen(kw_only=True)
class ExchangeFailed(_Timed):
    """
    Neither a login nor a renewal succeeded.

    If it was *ahead_of_need*, requests go on with the token they have, which ends in *expires_in* seconds
    (None if that is unknown). The next attempt is made at *retry_at* (aware, UTC).

    *kind* is the endpoint that was asked, for *elapsed* seconds up to *at*; None if no endpoint was asked,
    as the user's part failed, or another client of the store was answered the same a moment before. *error*
    names the class that callers get.
    """

    reason: str
    status_code: int | None
    retry_at: datetime
    ahead_of_need: bool
    kind: ExchangeKind | None = None
    elapsed: float = 0.0
    error: str = "AuthError"
    expires_in: float | None = None


@attrs.frozen(kw_only=True)
class TokenAwaited:
    """
    Callers waited for a new token, with or without success: one event for all of them.

    *waits* has the seconds that each waited, including those that gave up.
    """

    callers: int
    waits: tuple[float, ...] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class LeaseAwaited(_Timed):
    """
    This client waited while another one, or another event loop of this process, was renewing.

    The wait took *elapsed* seconds and ended *at*: the lease was "acquired", the other one brought a token or
    a failure ("served"), or the wait reached its limit ("gave_up").
    """

    elapsed: float
    outcome: Literal["acquired", "served", "gave_up"]


@attrs.frozen(kw_only=True)
class TokenRefused:
    """A request got a 401; *renewing* is False if the 401 is handed back at once."""

    renewing: bool


@attrs.frozen(kw_only=True)
class Forgotten:
    """`forget()` dropped the token."""


@attrs.frozen(kw_only=True)
class StoreFailed:
    """The token store failed in *operation*; this process works from memory until it recovers."""

    operation: str
    reason: str


@attrs.frozen(kw_only=True)
class StoreRecovered:
    """The token store works again."""


@attrs.frozen(kw_only=True)
class OriginSkipped:
    """A request went to *origin*, which is not the API's, without the token."""

    origin: str


Event: TypeAlias = (
    LoggedIn
    | Renewed
    | Adopted
    | RefreshRefused
    | ExchangeFailed
    | TokenAwaited
    | LeaseAwaited
    | TokenRefused
    | Forgotten
    | StoreFailed
    | StoreRecovered
    | OriginSkipped
)
