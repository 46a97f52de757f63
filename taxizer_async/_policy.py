"""
Every duration and limit there is, and the pure rules over them.

Nothing here reads a clock, waits, or keeps state: what goes in comes from the caller, so each rule
can be tabulated. All durations are seconds.
"""

from __future__ import annotations

import enum
import math

from typing import Final

import attrs

from taxizer_async._errors import ConfigurationError


#: A token may be renewed ahead of need in this part of its life at most.
AHEAD_SHARE: Final = 0.25
#: Callers wait for a new token in this part of its life at most.
MUST_SHARE: Final = 0.1
#: A fleet's renewals spread over this part of the time ahead of need.
JITTER_SHARE: Final = 0.2
#: Below this a lifetime says nothing, as `Date` counts whole seconds: used until refused.
SHORTEST_LIFETIME: Final = 0.5
#: `keep_fresh` looks at the clocks this often, as a sleeping machine wakes nobody.
KEEP_FRESH_INTERVAL: Final = 10.0
#: So many looks at the store come before another attempt at a lease that somebody else has: a token is
#: waited for by many, and a holder seldom dies.
POLLS_PER_LEASE_ATTEMPT: Final = 4
#: No pause between two looks at a store that another holds is longer, in the mean.
LONGEST_LEASE_POLL: Final = 0.25
#: Seconds for which it is known that a place accepts tokens …
ACCEPTANCE_COUNTS: Final = 600.0
#: … and seconds between two times that this is noted.
ACCEPTANCE_NOTED_EVERY: Final = 60.0
#: Seconds within which other places show whether a token is good that one place has refused.
OTHERS_TELL_WITHIN: Final = 1.0
#: Seconds that a caller waits at most for the token that replaces one which was refused.
LONGEST_WAIT_FOR_REPLACEMENT: Final = 10.0
#: A refresh on another event loop is looked after this often …
WATCH_INTERVAL: Final = 0.25
#: … and left behind once its loop has not answered for so long.
BLOCKED_AFTER: Final = 5.0
#: No pause between two attempts is longer, unless `backoff` is.
LONGEST_RETRY_WAIT: Final = 4.0
#: An exchange in health takes so many times the last one's duration at most; `keep_fresh` starts that
#: long before callers would have to wait.
HEALTHY_FACTOR: Final = 3.0
#: No token is believed to last longer.
LONGEST_LIFE: Final = 400 * 86_400.0
#: `Date` may differ this much from our clock before it is believed over it.
CLOCK_TOLERANCE: Final = 2.0

#: More doublings than this overflow a float sooner or later, and are for ever anyway.
_DOUBLINGS: Final = 60
#: Three thousand years: what is longer is a mistake, and overflows somewhere.
_FOR_EVER: Final = 1e11


@attrs.frozen(kw_only=True)
class RenewalPolicy:
    """
    When a token is renewed, how hard that is tried, and what is remembered of a failure.

    Attributes:
        renew_ahead: So long before its end a token is renewed ahead of need, or a quarter of its
            lifetime if that is less. Others go on with the old token meanwhile.
        must_renew: So long before its end callers wait for a new one, or a tenth of its lifetime.
        unknown_lifetime: What a token without an expiry is taken to last.
        refused_interval: A token that has already ended when it comes is used until refused, and
            renewed this seldom; a just-issued token that a 401 met is not renewed again within it.
        unauthorized_budget: So many renewals may be caused by 401s …
        unauthorized_window: … within so many seconds; past that a 401 is handed back.
        attempt_timeout: What a single request of a login or renewal may take.
        connect_timeout: What opening its connection may take.
        exchange_timeout: What a login or renewal may take as a whole: asking for the credentials,
            waiting for the lease, all requests, and the pauses between them.
        backoff: The first of those pauses; it doubles each time up to 4 s, with jitter.
        retry_after_limit: `Retry-After` is honoured up to this.
        rejected_for: So long a refusal of the credentials is served from memory.
        outage_backoff: So long a first failure of another kind is; it doubles up to …
        outage_backoff_limit: … this.
        refresh_passed_over: So long AppRefreshToken is passed over after a failure that was no
            refusal …
        refresh_distrusted: … and after a token of its was refused and had never been accepted.
        store_timeout: What a single call to the token store may take.
        lease_poll: The first pause between two looks at a store whose lease another client has; it
            grows by half each time up to 0.25 s, with jitter.
        hook_timeout: What an async listener may take for an event.

    Raises:
        ConfigurationError: If one of them is no positive, finite number.
    """

    renew_ahead: float = 300.0
    must_renew: float = 30.0
    unknown_lifetime: float = 300.0
    refused_interval: float = 30.0
    unauthorized_budget: int = 3
    unauthorized_window: float = 30.0
    attempt_timeout: float = 10.0
    connect_timeout: float = 5.0
    exchange_timeout: float = 30.0
    backoff: float = 0.25
    retry_after_limit: float = 30.0
    rejected_for: float = 60.0
    outage_backoff: float = 1.0
    outage_backoff_limit: float = 5.0
    refresh_passed_over: float = 60.0
    refresh_distrusted: float = 600.0
    store_timeout: float = 2.0
    lease_poll: float = 0.01
    hook_timeout: float = 5.0

    def __attrs_post_init__(self) -> None:
        """Check all fields, by the type of their default."""
        for field in attrs.fields(RenewalPolicy):
            value = getattr(self, field.name)
            check = _problem_of_count if isinstance(field.default, int) else _problem_of_duration
            problem = check(value)
            if problem:
                msg = f"{field.name} must be {problem}"
                raise ConfigurationError(msg)

    def lifespan(self, lifetime: float, jitter: float) -> Lifespan:
        """
        Divide a life of *lifetime* seconds; *jitter* in [0, 1) sets this holder apart from others.

        A *lifetime* too short to be true (expired on arrival, an unset date) gives a token that is
        used until it is refused.
        """
        if lifetime < SHORTEST_LIFETIME:
            return Lifespan(
                renew_after=self.refused_interval,
                must_after=math.inf,
                ends_after=math.inf,
            )
        ahead = min(self.renew_ahead, lifetime * AHEAD_SHARE)
        must = min(self.must_renew, lifetime * MUST_SHARE)
        return Lifespan(
            renew_after=lifetime - max(must, ahead * (1 - jitter * JITTER_SHARE)),
            must_after=lifetime - must,
            ends_after=lifetime,
        )

    def retry_wait(self, attempt: int, jitter: float, retry_after: float | None) -> float:
        """Return the wait after the *attempt*-th try (from 1); *jitter* in [0, 1) shortens it by up to half."""
        longest = max(self.backoff, LONGEST_RETRY_WAIT)
        own = min(longest, self.backoff * 2.0 ** min(attempt - 1, _DOUBLINGS)) * (1 - jitter / 2)
        if retry_after is None:
            return own
        return max(own, min(retry_after, self.retry_after_limit))

    def follower_timeout(self, remaining: float, last_elapsed: float) -> float:
        """
        Return how long to wait for somebody else's renewal.

        Args:
            remaining: Seconds that the old token has left: half of that, so that it can still be used.
            last_elapsed: Seconds that the last exchange took, 0 if unknown: if the end is so near, rather
                wait for the new token than go on with a dying one.
        """
        usual = HEALTHY_FACTOR * last_elapsed or self.attempt_timeout
        return max(remaining / 2, min(usual, self.attempt_timeout))

    def outage_wait(self, failures: int, retry_after: float | None) -> float:
        """Return how long the *failures*-th outage in a row (from 1) is remembered."""
        own = min(
            self.outage_backoff * 2.0 ** min(failures - 1, _DOUBLINGS), self.outage_backoff_limit
        )
        if retry_after is None:
            return own
        return max(own, min(retry_after, self.retry_after_limit))


class Freshness(enum.Enum):
    """How a token may be used."""

    FRESH = enum.auto()
    #: It is used, and one caller starts its renewal.
    RENEW_AHEAD = enum.auto()
    #: It is alive, but callers wait for the next one.
    MUST_RENEW = enum.auto()
    #: There is none, or it is refused or dead.
    EXPIRED = enum.auto()


@attrs.frozen(kw_only=True)
class Lifespan:
    """
    The stages of a token's life, in seconds since it was asked for.

    Attributes:
        renew_after: From here one caller renews, ahead of need.
        must_after: From here callers wait for the new token.
        ends_after: From here it is dead.
    """

    renew_after: float
    must_after: float
    ends_after: float

    def keep_after(self, margin: float) -> float:
        """Return when to renew so that a renewal of *margin* seconds is over before callers wait."""
        if math.isinf(self.ends_after):
            return self.renew_after
        return max(self.ends_after / 2, min(self.renew_after, self.must_after - margin))

    def advise(self, age: float) -> Freshness:
        """Say what to do with a token that was asked for *age* seconds ago."""
        if age < self.renew_after:
            return Freshness.FRESH
        if age < self.must_after:
            return Freshness.RENEW_AHEAD
        if age < self.ends_after:
            return Freshness.MUST_RENEW
        return Freshness.EXPIRED


def time_of_sending(
    expires_at: float | None, *, sent_at: float, received_at: float, server_date: float | None
) -> float:
    """
    Return when a request for a token was sent, by the clock that the token's end is given in.

    That is the server's, as far as its `Date` can be believed: by it the token has to have some time
    left, but not more than 400 days.

    Args:
        expires_at: The token's end by the server's clock, epoch seconds, like all here.
        sent_at: When the request was sent, by our clock.
        received_at: When the answer was there, by our clock.
        server_date: The answer's `Date`, if it had one.
    """
    if server_date is None:
        return sent_at
    if sent_at - CLOCK_TOLERANCE <= server_date <= received_at + CLOCK_TOLERANCE:
        return sent_at
    if expires_at is None or 0 < expires_at - server_date <= LONGEST_LIFE:
        return server_date
    return sent_at if 0 < expires_at - sent_at <= LONGEST_LIFE else server_date


def _problem_of_duration(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"a number, not {type(value).__name__}"
    if 0 < value < _FOR_EVER:
        return None
    is_short = isinstance(value, float) or abs(value) < _FOR_EVER
    return f"finite and above 0, not {f'{value:g}' if is_short else 'that'}"


def _problem_of_count(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return "a whole number of at least 1"
    return None
