"""What a refresh is about, what it has come to so far, and what can come of one step of it, as values."""

from __future__ import annotations

import enum
import math

from typing import TypeAlias

import attrs

from taxizer_async._core.exchange import Malformed, Unavailable
from taxizer_async._core.models import Credentials
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import Failure
from taxizer_async.stores import Lease, StoreKey, StoreView, TokenRecord


@attrs.frozen(kw_only=True)
class Endpoints:
    """The API that tokens are for, and the URLs of its two token endpoints."""

    base_url: str
    connect: str
    refresh: str


@attrs.frozen(kw_only=True, repr=False)
class RenewalRequest:
    """
    What one refresh is about.

    Attributes:
        stale: The token to replace.
        generation: The cache's when this began.
        deadline: When it ends, whatever has come of it by then (`Clock.monotonic`).
    """

    stale: CachedToken | None
    generation: int
    deadline: float


@attrs.frozen(kw_only=True, repr=False)
class Progress:
    """
    How far a refresh has come.

    Attributes:
        credentials: The pair; None until a callable was asked for it.
        attempts: How many attempts at Connect have failed so that the lease was given back.
        began: When the first of them began (`Clock.monotonic`).
        cause: What the last of them came to.
        resume_at: Until when the lease is left to others (`Clock.monotonic`).
        looks: How often it has looked into the store while waiting.
        waiting_since: When it found the lease taken (`Clock.monotonic`); None if it has not.
    """

    credentials: Credentials | None = None
    attempts: int = 0
    began: float | None = None
    cause: Unavailable | Malformed | None = None
    resume_at: float = -math.inf
    looks: int = 0
    waiting_since: float | None = None


@attrs.frozen(kw_only=True, repr=False)
class Turn:
    """
    A turn at the token endpoints.

    Attributes:
        request: What it is about.
        progress: How far the refresh has come before.
        key: The API and the account.
        lease: None if the store is down; then it is left alone, and so are refresh tokens that others
            may have, too.
        view: What the store has.
    """

    request: RenewalRequest
    progress: Progress
    key: StoreKey
    lease: Lease | None
    view: StoreView

    @property
    def record(self) -> TokenRecord | None:
        """The record in the store, if this turn may use it."""
        return None if self.lease is None else self.view.record


class NoResult(enum.Enum):
    """Why a refresh has ended with neither a token nor a failure."""

    #: The token was forgotten meanwhile, so what came of the refresh is of no use.
    SUPERSEDED = enum.auto()
    #: Another client is renewing, and there is time to wait for what it saves.
    LEFT_TO_OTHERS = enum.auto()


Result: TypeAlias = CachedToken | Failure | NoResult
#: A turn that ends with its progress is followed by another one.
Step: TypeAlias = Result | Progress
