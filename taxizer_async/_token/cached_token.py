"""
A token as this process knows it, as an immutable value: how old it is, and what became of it.

Nothing here changes state; the cache replaces one value by the next.
"""

from __future__ import annotations

import math

import attrs

from taxizer_async._core.clock import Clock
from taxizer_async._core.exchange import Issued
from taxizer_async._core.models import Token, TokenState
from taxizer_async._core.policy import Freshness, RenewalPolicy, RenewalSchedule
from taxizer_async._core.secret import Secret
from taxizer_async._token.places import Verdict
from taxizer_async.stores import TokenRecord


def _mark(cached: CachedToken) -> Secret:
    return Secret(f"Bearer {cached.token.jwt.reveal()}")


def _authorization(cached: CachedToken) -> str:
    return cached.mark.reveal()


def _fresh_until(cached: CachedToken) -> float:
    return -math.inf if cached.refused else cached.requested_at + cached.schedule.renew_after


@attrs.frozen(kw_only=True)
class CachedToken:
    """
    A token and what this process knows of it.

    Attributes:
        token: The token.
        version: The name that its first owner gave it.
        lifetime: Seconds from when it was asked for to its end.
        schedule: When it is to be renewed.
        requested_at: `Clock.monotonic` when it was asked for.
        refresh_lifetime: Seconds that its refresh token lasts from then; None if unknown.
        refresh_spent: Whether the refresh token was sent.
        shared: Whether the store has it too, so that others may spend its refresh token.
        accepted: Whether the API has accepted it.
        refused: Whether a 401 led to its renewal.
        refused_sent: When the last refused request was sent, one for each place (`Clock.monotonic`).
        reported: The verdict on a 401 that was reported last.
        answers_refusal: Whether it was issued because the one before was refused.
        by_refresh: Whether this process got it from AppRefreshToken.
        mark: The header's value; the same object for as long as it is the same token.
        authorization: The header's value as it is sent.
        fresh_until: When it stops being `Freshness.FRESH` (`Clock.monotonic`).
    """

    token: Token
    version: str
    lifetime: float
    schedule: RenewalSchedule
    requested_at: float
    refresh_lifetime: float | None
    refresh_spent: bool = False
    shared: bool = False
    accepted: bool = False
    refused: bool = False
    refused_sent: float = -math.inf
    reported: Verdict | None = None
    answers_refusal: bool = False
    by_refresh: bool = False
    # Each request reads these, so they are computed once.
    mark: Secret = attrs.field(default=attrs.Factory(_mark, takes_self=True), eq=False, repr=False)
    authorization: str = attrs.field(
        default=attrs.Factory(_authorization, takes_self=True), init=False, eq=False, repr=False
    )
    fresh_until: float = attrs.field(
        default=attrs.Factory(_fresh_until, takes_self=True), init=False, eq=False, repr=False
    )

    def age(self, clock: Clock) -> float:
        """Return the seconds since it was asked for."""
        return max(clock.monotonic() - self.requested_at, 0.0)

    def freshness(self, clock: Clock) -> Freshness:
        """Return how it may be used now; a refused token counts as expired."""
        if self.refused:
            return Freshness.EXPIRED
        return self.schedule.freshness(self.age(clock))

    def is_good(self, clock: Clock) -> bool:
        """Return whether it may be used without waiting for its renewal."""
        return self.freshness(clock) in (Freshness.FRESH, Freshness.RENEW_AHEAD)

    def can_wait_for_store(self, clock: Clock) -> bool:
        """Return whether its renewal may wait until a store that fails is back: half of the time ahead of need."""
        until = (self.schedule.renew_after + self.schedule.must_after) / 2
        return not self.refused and self.age(clock) < until

    def remaining(self, clock: Clock) -> float:
        """Return the seconds to its end; infinite for a token that is used until it is refused."""
        return self.schedule.ends_after - self.age(clock)

    def expires_in(self, clock: Clock) -> float | None:
        """Return the seconds to its end; None if that is unknown."""
        remaining = self.remaining(clock)
        return remaining if math.isfinite(remaining) else None

    def is_over(self, now: float) -> bool:
        """Return whether it has ended by *now* (`Clock.monotonic`), whatever the server says of it."""
        return now - self.requested_at >= self.schedule.ends_after

    def same_token(self, other: CachedToken | None) -> bool:
        """Return whether *other* has the same JWT."""
        return other is not None and self.token.jwt == other.token.jwt

    def refreshable(self, clock: Clock) -> bool:
        """Return whether it has a refresh token that is neither spent nor expired."""
        if self.token.refresh_token is None or self.refresh_spent:
            return False
        return self.refresh_lifetime is None or self.age(clock) < self.refresh_lifetime

    def record(self, clock: Clock) -> TokenRecord:
        """Return the record that a store keeps."""
        return TokenRecord(
            token=self.token,
            version=self.version,
            lifetime=self.lifetime,
            refresh_lifetime=self.refresh_lifetime,
            age=self.age(clock),
            refresh_spent=self.refresh_spent,
        )


def token_state(cached: CachedToken | None, clock: Clock) -> TokenState:
    """Return its state as `AuthStatus` names it."""
    if cached is None:
        return TokenState.NONE
    if cached.refused:
        return TokenState.REFUSED
    match cached.freshness(clock):
        case Freshness.FRESH:
            return TokenState.FRESH
        case Freshness.EXPIRED:
            return TokenState.EXPIRED
        case _:
            return TokenState.RENEWAL_DUE


def from_issued(
    issued: Issued,
    *,
    version: str,
    clock: Clock,
    policy: RenewalPolicy,
    jitter: float,
    answers_refusal: bool,
    by_refresh: bool,
) -> CachedToken:
    """Return a token that was just issued."""
    lifetime = policy.unknown_lifetime if issued.lifetime is None else issued.lifetime
    # If it seems expired on arrival, one of the two clocks is wrong.
    age = clock.monotonic() - issued.requested_at
    credible = lifetime if lifetime > age else -math.inf
    return CachedToken(
        token=issued.token,
        version=version,
        lifetime=max(0.0, credible),
        schedule=policy.schedule(credible, jitter),
        requested_at=issued.requested_at,
        refresh_lifetime=issued.refresh_lifetime,
        answers_refusal=answers_refusal,
        by_refresh=by_refresh,
    )


def from_record(
    record: TokenRecord, *, clock: Clock, policy: RenewalPolicy, jitter: float
) -> CachedToken:
    """Return the token of a store's *record*."""
    return CachedToken(
        token=record.token,
        version=record.version,
        lifetime=record.lifetime,
        schedule=policy.schedule(record.lifetime, jitter),
        requested_at=clock.monotonic() - record.age,
        refresh_lifetime=record.refresh_lifetime,
        refresh_spent=record.refresh_spent,
        shared=True,
    )
