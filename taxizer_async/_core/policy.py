"""
All durations and limits, and the pure rules that use them.

Nothing here reads a clock, waits or keeps state. Durations are in seconds.
"""

from __future__ import annotations

import enum
import math

from typing import Final

import attrs

from taxizer_async._core.errors import ConfigurationError


#: The largest part of a token's life in which it is renewed ahead of need.
AHEAD_SHARE: Final = 0.25
#: The largest part of a token's life in which callers wait for a new one.
MUST_SHARE: Final = 0.1
#: The part of the time ahead of need over which a fleet spreads its renewals.
JITTER_SHARE: Final = 0.2
#: A shorter lifetime means nothing, as `Date` has whole seconds: the token is used until it is refused.
SHORTEST_LIFETIME: Final = 0.5
#: How often `keep_fresh` reads the clock, as timers stand still while the machine sleeps.
KEEP_FRESH_INTERVAL: Final = 10.0
#: The longest pause, on average, between two looks into a store whose lease another client holds.
LONGEST_LEASE_POLL: Final = 0.25
#: How far a pause may be from its average, as a share of it.
LEASE_POLL_JITTER: Final = 0.25
#: How long a client that may be the only one to see a failure leaves the lease to others: all have looked
#: by then.
LEASE_YIELDED_FOR: Final = LONGEST_LEASE_POLL * (1 + LEASE_POLL_JITTER)
#: How long a renewal is left to the client that has the lease, ahead of need.
LEFT_TO_OTHERS_FOR: Final = 1.0
#: How long an acceptance counts as evidence that a token is good, though another place refuses it.
ACCEPTANCE_COUNTS: Final = 600.0
#: How often an acceptance by the same place is noted at most.
ACCEPTANCE_NOTED_EVERY: Final = 60.0
#: How long other places may take to show whether a token that one place refused is good.
OTHERS_TELL_WITHIN: Final = 1.0
#: The longest wait of a caller for the replacement of a refused token.
LONGEST_WAIT_FOR_REPLACEMENT: Final = 10.0
#: How often a refresh on another event loop is checked.
WATCH_INTERVAL: Final = 0.25
#: How long that loop may take to react before its refresh is abandoned.
BLOCKED_AFTER: Final = 5.0
#: The longest pause between two attempts, unless `backoff` is longer.
LONGEST_RETRY_WAIT: Final = 4.0
#: A healthy exchange takes at most this many times as long as the last one. `keep_fresh` starts that long
#: before callers would have to wait.
HEALTHY_FACTOR: Final = 3.0
#: The longest credible life of a token.
LONGEST_LIFE: Final = 400 * 86_400.0
#: How far `Date` may be from our clock before it is used instead.
CLOCK_TOLERANCE: Final = 2.0

#: With less time left no other attempt begins: cut short, it would only hide what the last one came to.
_SHORTEST_ATTEMPT: Final = 0.1
#: More doublings may overflow a float.
_DOUBLINGS: Final = 60
#: Three thousand years: longer durations are mistakes, and may overflow.
_TOO_LONG: Final = 1e11


@attrs.frozen(kw_only=True)
class RenewalPolicy:
    """
    When tokens are renewed, how hard the client tries, and how long failures are remembered.

    Attributes:
        renew_ahead: Seconds before expiry at which one caller starts a renewal while all go on with the
            old token; a quarter of the lifetime if that is less.
        must_renew: Seconds before expiry at which callers wait for a new token; a tenth of the lifetime if
            that is less.
        unknown_lifetime: The assumed lifetime of a token without an expiry.
        refused_interval: The shortest interval between renewals of tokens that are expired on arrival
            (they are used until refused), and between those after 401s for a token that was just issued.
        unauthorized_budget: How many renewals 401s may cause ...
        unauthorized_window: ... within this time; after that a 401 is handed back.
        attempt_timeout: The limit of a single request of a login or renewal.
        connect_timeout: The limit of opening its connection.
        exchange_timeout: The limit of a login or renewal as a whole: getting the credentials, waiting for
            the lease, all requests, and the pauses between them.
        backoff: The first of those pauses; they double up to 4 s, with jitter.
        retry_after_limit: The longest `Retry-After` that is honoured.
        rejected_for: How long calls fail from memory after the credentials were refused.
        outage_backoff: How long they do so after the first failure of another kind; this doubles up to ...
        outage_backoff_limit: ... this.
        refresh_passed_over: How long AppRefreshToken is not used after it failed without refusing ...
        refresh_distrusted: ... and after a token that it issued was refused without ever being accepted.
        store_timeout: The limit of a single call to the token store, counted in turns of the event loop.
        lease_poll: The first pause between two looks into a store while another client holds the lease; pauses
            grow by half each time up to 0.25 s, with jitter.
        hook_timeout: How long an async listener may take for an event.

    Raises:
        ConfigurationError: If one of them is not a positive, finite number.
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
        """Check all fields, by the type of their defaults."""
        for field in attrs.fields(RenewalPolicy):
            value = getattr(self, field.name)
            check = _problem_of_count if isinstance(field.default, int) else _problem_of_duration
            problem = check(value)
            if problem:
                msg = f"{field.name} must be {problem}"
                raise ConfigurationError(msg)

    def schedule(self, lifetime: float, jitter: float) -> RenewalSchedule:
        """
        Return the schedule of a token that lasts *lifetime* seconds.

        If that is too short to be true (expired on arrival, or an unset date), the token is used until it is
        refused. *jitter* in [0, 1) spreads the renewals of a fleet.
        """
        if lifetime < SHORTEST_LIFETIME:
            return RenewalSchedule(
                renew_after=self.refused_interval,
                must_after=math.inf,
                ends_after=math.inf,
            )
        ahead = min(self.renew_ahead, lifetime * AHEAD_SHARE)
        must = min(self.must_renew, lifetime * MUST_SHARE)
        return RenewalSchedule(
            renew_after=lifetime - max(must, ahead * (1 - jitter * JITTER_SHARE)),
            must_after=lifetime - must,
            ends_after=lifetime,
        )

    def retry_wait(self, attempt: int, jitter: float, retry_after: float | None) -> float:
        """Return the wait after the *attempt*-th attempt, from 1; *jitter* in [0, 1) shortens it by up to half."""
        wait = _doubled(self.backoff, attempt, max(self.backoff, LONGEST_RETRY_WAIT))
        return self._prolonged(wait * (1 - jitter / 2), retry_after)

    @property
    def longest_failure(self) -> float:
        """How long any failure is remembered at most, with a second to spare for rounding."""
        return 1.0 + max(self.rejected_for, self.outage_backoff_limit, self.retry_after_limit)

    def lease_wait(self, looks: int, jitter: float) -> float:
        """Return the pause after so many *looks* for a lease that is taken; *jitter* is in [0, 1)."""
        longest = max(self.lease_poll, LONGEST_LEASE_POLL)
        mean = min(longest, self.lease_poll * 1.5 ** min(looks, _DOUBLINGS))
        return mean * (1 + LEASE_POLL_JITTER * (2 * jitter - 1))

    def follower_timeout(self, remaining: float, last_elapsed: float) -> float:
        """
        Return how long a caller waits for the renewal of a token that has *remaining* seconds left.

        That is half of them, so that it can still use the token. It is longer if a healthy exchange takes
        longer, judged by the last one (*last_elapsed* seconds, 0 if unknown): the token would expire anyhow.
        """
        usual = HEALTHY_FACTOR * last_elapsed or self.attempt_timeout
        return max(remaining / 2, min(usual, self.attempt_timeout))

    def outage_wait(self, failures: int, retry_after: float | None) -> float:
        """Return how long the *failures*-th outage in a row (from 1) is remembered."""
        wait = _doubled(self.outage_backoff, failures, self.outage_backoff_limit)
        return self._prolonged(wait, retry_after)

    def _prolonged(self, wait: float, retry_after: float | None) -> float:
        return max(wait, min(retry_after or 0.0, self.retry_after_limit))


class Freshness(enum.Enum):
    """How a token may be used at its age."""

    FRESH = enum.auto()
    #: Callers use it, and one of them starts a renewal.
    RENEW_AHEAD = enum.auto()
    #: It still works, but callers wait for the next one.
    MUST_RENEW = enum.auto()
    #: It has expired or was refused, or there is no token.
    EXPIRED = enum.auto()


@attrs.frozen(kw_only=True)
class RenewalSchedule:
    """When a token is renewed ahead of need, must be renewed, and ends, in seconds since it was requested."""

    renew_after: float
    must_after: float
    ends_after: float

    def keep_fresh_after(self, margin: float) -> float:
        """Return when `keep_fresh` renews: *margin* seconds before callers would wait, if there is time."""
        if math.isinf(self.ends_after):
            return self.renew_after
        return max(self.ends_after / 2, min(self.renew_after, self.must_after - margin))

    def freshness(self, age: float) -> Freshness:
        """Return how to use a token that was requested *age* seconds ago."""
        if age < self.renew_after:
            return Freshness.FRESH
        if age < self.must_after:
            return Freshness.RENEW_AHEAD
        if age < self.ends_after:
            return Freshness.MUST_RENEW
        return Freshness.EXPIRED


def is_time_for_attempt(begin: float, deadline: float) -> bool:
    """Return whether another attempt may begin at *begin* that has to end by *deadline*, on the same clock."""
    return begin + _SHORTEST_ATTEMPT <= deadline


def time_of_sending(
    expires_at: float | None, *, sent_at: float, received_at: float, server_date: float | None
) -> float:
    """
    Return when a request for a token was sent, by the clock that the token's expiry refers to.

    That is the server's clock if *server_date*, its `Date`, is credible: by it the token must have some time
    left, but not more than 400 days. *sent_at* and *received_at* are by our clock. All are epoch seconds.
    """
    if server_date is None:
        return sent_at
    if sent_at - CLOCK_TOLERANCE <= server_date <= received_at + CLOCK_TOLERANCE:
        return sent_at
    if expires_at is None or 0 < expires_at - server_date <= LONGEST_LIFE:
        return server_date
    return sent_at if 0 < expires_at - sent_at <= LONGEST_LIFE else server_date


def _doubled(first: float, times: int, most: float) -> float:
    return min(first * 2.0 ** min(times - 1, _DOUBLINGS), most)


def _problem_of_duration(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"a number, not {type(value).__name__}"
    if 0 < value < _TOO_LONG:
        return None
    is_short = isinstance(value, float) or abs(value) < _TOO_LONG
    return f"finite and above 0, not {f'{value:g}' if is_short else 'a number that large'}"


def _problem_of_count(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return "a whole number of at least 1"
    return None
