"""
What a client can tell its operator: one value per thing that happened.

An event says what, how long and why in plain fields. It never holds a secret, and nothing in here
decides who gets it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypeAlias

import attrs


#: Which token endpoint was asked: Connect or AppRefreshToken.
ExchangeKind: TypeAlias = Literal["connect", "refresh"]


def _now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen(kw_only=True)
class LoggedIn:
    """
    Connect issued a token; *elapsed* seconds were spent on it, retries included.

    *at* (aware, UTC, by the machine's clock) is when it was over, as in all events that have it.
    """

    elapsed: float
    expires_at: datetime | None
    at: datetime = attrs.field(factory=_now, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Renewed:
    """AppRefreshToken issued a token; *elapsed* seconds were spent on it, retries included."""

    elapsed: float
    expires_at: datetime | None
    at: datetime = attrs.field(factory=_now, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Adopted:
    """A token that another client had put into the store was taken over."""

    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class RefreshRefused:
    """
    AppRefreshToken refused or failed, and a login follows; *reason* says why.

    That took *elapsed* seconds, retries included.
    """

    reason: str
    status_code: int | None
    elapsed: float = 0.0
    at: datetime = attrs.field(factory=_now, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class ExchangeFailed:
    """
    Neither a login nor a renewal succeeded.

    *ahead_of_need* tells that requests go on with the token they have. Until *retry_at* (aware,
    UTC) nothing is tried again.

    *kind* is the endpoint that was asked for *elapsed* seconds, None if none was, as it was the user's
    part that failed. *error* is the class of what callers get, by name.
    """

    reason: str
    status_code: int | None
    retry_at: datetime
    ahead_of_need: bool
    kind: ExchangeKind | None = None
    elapsed: float = 0.0
    error: str = "AuthError"
    at: datetime = attrs.field(factory=_now, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class TokenAwaited:
    """
    Callers waited for a new token, or for the word that there is none: one event for all of them.

    *waits* has the seconds of each, also of those who gave up before.
    """

    callers: int
    waits: tuple[float, ...] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class LeaseAwaited:
    """
    Another client had the lease, or another event loop of this process was at it, for *elapsed* seconds.

    What ended the wait: the lease was "acquired", the other's token or failure was there ("served"), or
    the wait was as long as it may be ("gave_up").
    """

    elapsed: float
    outcome: Literal["acquired", "served", "gave_up"]
    at: datetime = attrs.field(factory=_now, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class TokenRefused:
    """A request was answered 401; *renewing* is False where the 401 is handed back at once."""

    renewing: bool


@attrs.frozen(kw_only=True)
class Forgotten:
    """`forget()` dropped the token."""


@attrs.frozen(kw_only=True)
class StoreFailed:
    """The token store failed in *operation*; this process's memory serves until it is back."""

    operation: str
    reason: str


@attrs.frozen(kw_only=True)
class StoreRecovered:
    """The token store works again."""


@attrs.frozen(kw_only=True)
class OriginSkipped:
    """A request went to *origin* without the token, as that is not an origin of the API."""

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
