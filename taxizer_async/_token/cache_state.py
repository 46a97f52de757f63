"""Everything that is known of one token in this process, as one immutable value."""

from __future__ import annotations

import math

from typing import Self

import attrs

from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import Failure
from taxizer_async._token.places import Places


@attrs.frozen(kw_only=True)
class RenewalOf401:
    """A renewal that a 401 of *place* for the token *version* caused, *at* then (`Clock.monotonic`)."""

    at: float
    place: str
    version: str


def _listens(state: CacheState) -> bool:
    cached = state.cached
    return cached is None or cached.refused or not cached.accepted or bool(state.places.refusing)


@attrs.frozen(kw_only=True, repr=False)
class CacheState:
    """
    Everything that changes, in one value.

    Attributes:
        cached: The token.
        failure: Why the last exchange failed; None once one has succeeded.
        rejection: The last failure that was a refusal of the credentials, likewise.
        failures: How many have failed in a row.
        renewals_of_401s: The renewals that 401s caused, as far as they still count.
        places: What 401s say about the places that the token is sent to.
        refresh_passed_over_until: Until when AppRefreshToken is not asked (`Clock.monotonic`).
        left_until: Until when the renewal is left to another client (`Clock.monotonic`).
        generation: Counts `forget`: what was asked for before one is not held after it.
        forgotten: The version of the token that was dropped by the last `forget` that dropped one.
        client_id: The account that the token is for; None until the credentials were asked for.
        last_elapsed: Seconds that the last exchange took.
        logins: Connects that succeeded.
        renewals: Refreshes that succeeded.
        adoptions: Tokens taken from the store.
    """

    cached: CachedToken | None = None
    failure: Failure | None = None
    rejection: Failure | None = None
    failures: int = 0
    renewals_of_401s: tuple[RenewalOf401, ...] = ()
    places: Places = attrs.field(factory=Places)
    refresh_passed_over_until: float = -math.inf
    left_until: float = -math.inf
    generation: int = 0
    forgotten: str | None = None
    client_id: str | None = None
    last_elapsed: float = 0.0
    logins: int = 0
    renewals: int = 0
    adoptions: int = 0
    #: Whether an answer that is not a 401 is of interest.
    listens: bool = attrs.field(
        default=attrs.Factory(_listens, takes_self=True), init=False, eq=False
    )

    def passing_over_refresh(self, until: float) -> Self:
        """Return it with AppRefreshToken not asked *until* then, or as long as before if that is longer."""
        return attrs.evolve(
            self, refresh_passed_over_until=max(self.refresh_passed_over_until, until)
        )
