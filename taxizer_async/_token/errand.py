"""What a flight is about and what it works with: the arguments of `lease_wait` and `renewal`, as values."""

from __future__ import annotations

import enum

from collections.abc import Callable

import attrs

from taxizer_async._clock import Clock
from taxizer_async._models import Credentials
from taxizer_async._outcomes import Exchange
from taxizer_async._policy import RenewalPolicy
from taxizer_async._reporter import Reporter
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.guarded_store import GuardedStore


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Endpoints:
    """The API that tokens are for, and the URLs of its two token endpoints."""

    base_url: str
    connect: str
    refresh: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Tools:
    """What all flights of one provider work with; see `TokenProvider`."""

    endpoints: Endpoints
    credentials: CredentialsSource
    exchange: Exchange
    store: GuardedStore
    cache: TokenCache
    policy: RenewalPolicy
    clock: Clock
    random: Callable[[], float]
    reporter: Reporter


@attrs.define(kw_only=True, eq=False, repr=False)
class Errand:
    """
    What one flight is about.

    Attributes:
        stale: The token to replace.
        attempts: Requests to make at most …
        seconds: … and what they may take.
        waits: Seconds to wait while somebody else has the lease …
        urgent: … and whether to log in without it then, as there is no token to go on with.
        epoch: The state's when this began.
        asked: The credentials, once they were asked for and until they are used.
        waiting_since: `Clock.monotonic` when it began to wait for the lease, while it does.
    """

    stale: CachedToken | None
    attempts: int
    seconds: float
    waits: float
    urgent: bool
    epoch: int
    asked: Credentials | None = None
    waiting_since: float | None = None


class Again(enum.Enum):
    """The ground has shifted, so look again."""

    #: It was this process that shifted it (another client_id, a `forget`).
    NOW = enum.auto()
    #: Somebody else has the lease.
    LATER = enum.auto()
