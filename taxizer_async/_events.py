"""
What a client can tell its operator: one value per thing that happened.

An event says what, how long and why in plain fields. It never holds a secret, and nothing in here
decides who gets it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class LoggedIn:
    """Connect issued a token; *elapsed* seconds were spent on it, retries included."""

    elapsed: float
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class Renewed:
    """AppRefreshToken issued a token; *elapsed* seconds were spent on it, retries included."""

    elapsed: float
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class Adopted:
    """A token that another client had put into the store was taken over."""

    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class RefreshRefused:
    """A refresh token was refused or is of uncertain state, so a login follows; *reason* says why."""

    reason: str
    status_code: int | None


@attrs.frozen(kw_only=True)
class ExchangeFailed:
    """
    Neither a login nor a renewal succeeded.

    *ahead_of_need* tells that requests go on with the token they have. Until *retry_at* (aware,
    UTC) nothing is tried again.
    """

    reason: str
    status_code: int | None
    retry_at: datetime
    ahead_of_need: bool


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
    | TokenRefused
    | Forgotten
    | StoreFailed
    | StoreRecovered
    | OriginSkipped
)
