"""
The state of one token in this process: one immutable value, and every change that it can undergo.

Reads take no lock. Changes are made here and nowhere else, under a mutex that is held for a few
statements and never across an await. There is no I/O here, and no decision about what to do next.
"""

from __future__ import annotations

import math
import os
import threading

from collections.abc import Callable
from typing import final

import attrs

from taxizer_async._core.clock import Clock
from taxizer_async._core.exchange import Refused, Unavailable
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import LEFT_TO_OTHERS_FOR, Freshness, RenewalPolicy
from taxizer_async._token.cache_state import CacheState
from taxizer_async._token.cached_token import CachedToken, from_record
from taxizer_async._token.failures import Cause, Failure
from taxizer_async._token.places import Verdict
from taxizer_async._token.refusals import after_acceptance, after_refusal, is_news
from taxizer_async._token.shared_failures import to_cause
from taxizer_async.stores import FailureRecord, TokenRecord


@final
class TokenCache:
    """
    Holds the `CacheState`.

    Args:
        policy: All durations and limits.
        clock: For ages and back-off.
        random: Numbers in [0, 1), for jitter.
        client_id: The account that the token will be for, if that is known.
    """

    __slots__ = ("_clock", "_monotonic", "_mutex", "_pid", "_policy", "_random", "state")

    def __init__(
        self,
        *,
        policy: RenewalPolicy,
        clock: Clock,
        random: Callable[[], float],
        client_id: str | None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._monotonic = clock.monotonic
        self._random = random
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self.state = CacheState(client_id=client_id)

    def fresh(self) -> CachedToken | None:
        """Return the token if it is fresh: this is the fast path."""
        cached = self.state.cached
        if cached is not None and self._monotonic() < cached.fresh_until:
            return cached
        return None

    def freshness(self) -> Freshness:
        """Return how the token in use may be used."""
        cached = self.state.cached
        return Freshness.EXPIRED if cached is None else cached.freshness(self._clock)

    def alive(self) -> CachedToken | None:
        """Return the token unless it is refused or dead."""
        cached = self.state.cached
        if cached is None or cached.freshness(self._clock) is Freshness.EXPIRED:
            return None
        return cached

    def is_ahead_of_need(self) -> bool:
        """Return whether callers go on with the token that they have, and do not wait for another."""
        cached = self.state.cached
        return cached is not None and cached.is_good(self._clock)

    def can_wait_for_store(self) -> bool:
        """Return whether the renewal of the token in use may wait until a store that fails is back."""
        cached = self.state.cached
        return cached is not None and cached.can_wait_for_store(self._clock)

    def refused(self) -> CachedToken | None:
        """Return the token if it was refused, but has not ended: it is better than none."""
        cached = self.state.cached
        if cached is None or not cached.refused or cached.is_over(self._monotonic()):
            return None
        return cached

    def replacement_for(self, stale: CachedToken | None) -> CachedToken | None:
        """Return the token if it is good and another than *stale*."""
        cached = self.state.cached
        if cached is None or cached.same_token(stale):
            return None
        return cached if cached.is_good(self._clock) else None

    def active_failure(self) -> Failure | None:
        """Return the failure that is still served from memory, if there is one."""
        failure = self.state.failure
        if failure is None or self._clock.monotonic() >= failure.until:
            return None
        return failure

    def rejection_of(self, credentials: Credentials) -> Failure | None:
        """Return the failure that these *credentials* were refused with, while it is remembered."""
        rejection = self.state.rejection
        if rejection is None or rejection.rejected != credentials:
            return None
        return rejection if self._clock.monotonic() < rejection.rejected_until else None

    def unshared(self) -> CachedToken | None:
        """Return the token in use if no other process can have its refresh token."""
        with self._changing():
            cached = self.state.cached
        return None if cached is None or cached.shared else cached

    def read(self, record: TokenRecord) -> CachedToken:
        """Return *record* as a token of this process."""
        return from_record(record, clock=self._clock, policy=self._policy, jitter=self._random())

    def note_acceptance(self, cached: CachedToken, place: str, *, sent_at: float) -> bool:
        """
        Note that *place* accepted *cached*.

        Args:
            cached: The token that was sent.
            place: Where it was sent; empty if that is unknown.
            sent_at: When it was sent (`Clock.monotonic`).

        Returns:
            Whether the token in use was being replaced, and turns out to be good.
        """
        now = self._clock.monotonic()
        if not is_news(self.state, cached, place, sent_at=sent_at, now=now):
            return False
        with self._changing():
            self.state, is_good = after_acceptance(
                self.state, cached, place, sent_at=sent_at, now=now, policy=self._policy
            )
            return is_good

    def note_refusal(
        self, cached: CachedToken, place: str = "", *, sent_at: float = math.inf
    ) -> tuple[Verdict, bool]:
        """
        Note that *place* answered 401 to *cached*.

        Args:
            cached: The token that was sent.
            place: Where it was sent; empty if that is unknown, and then the token is at fault.
            sent_at: When it was sent (`Clock.monotonic`).

        Returns:
            What follows, and whether that is to be reported: once per token it is.
        """
        now = self._clock.monotonic()
        with self._changing():
            self.state, verdict, is_reported = after_refusal(
                self.state, cached, place, sent_at=sent_at, now=now, policy=self._policy
            )
            return verdict, is_reported

    def set_issued(
        self, cached: CachedToken, *, login: bool, elapsed: float, generation: int
    ) -> bool:
        """Use a token that was just issued; return False if a `forget` since *generation* forbids it."""
        with self._changing():
            state = self.state
            current = state.cached
            is_late = current is not None and current.requested_at > cached.requested_at
            if state.generation != generation or is_late:
                return state.generation == generation
            self.state = attrs.evolve(
                state,
                cached=cached,
                failure=None,
                rejection=None,
                failures=0,
                last_elapsed=elapsed,
                logins=state.logins + login,
                renewals=state.renewals + (not login),
            )
            return True

    def is_newer_than(self, record: TokenRecord) -> bool:
        """
        Return whether the token in use was asked for after that of *record*.

        Then the store was set back, by a restart from a snapshot for example: the refresh token in it
        may have been sent long ago.
        """
        cached = self.state.cached
        if cached is None or cached.version == record.version:
            return False
        return record.age > cached.age(self._clock)

    def adopt(
        self, record: TokenRecord, stale: CachedToken | None, *, generation: int
    ) -> CachedToken | None:
        """
        Use the token of *record* if it is good, neither *stale* nor refused, and newer than the one in use.

        Return None if it is not, or if a token was forgotten since *generation*.
        """
        cached = self.read(record)
        if not cached.is_good(self._clock):
            return None
        if cached.same_token(stale) or cached.same_token(self.refused()):
            return None
        if self.is_newer_than(record) or self.is_forgotten(record):
            return None
        with self._changing():
            if self.state.generation != generation:
                return None
            self.state = attrs.evolve(
                self.state,
                cached=cached,
                failure=None,
                failures=0,
                adoptions=self.state.adoptions + 1,
            )
        return cached

    def is_forgotten(self, record: TokenRecord) -> bool:
        """Return whether *record* is of the token that was dropped last, as others may save it once more."""
        return record.version == self.state.forgotten

    def mark_spent(self, version: str, *, spent: bool, shared: bool) -> None:
        """
        Note whether the refresh token of the token *version* was sent.

        If the store is told so as well, others find the token there: then it is *shared*.
        """
        with self._changing():
            cached = self.state.cached
            if cached is not None and cached.version == version:
                shared = shared or cached.shared
                self._replace(attrs.evolve(cached, refresh_spent=spent, shared=shared))

    def record_failure(
        self, cause: Cause, *, endpoint: str, rejected: Credentials | None, recheck: bool
    ) -> Failure:
        """
        Note that an exchange failed.

        Args:
            cause: What it came to.
            endpoint: The URL that was asked.
            rejected: The credentials, if it was they that the server refused.
            recheck: Whether a callable may return other credentials soon, so that a refusal is served
                from memory for a moment only.
        """
        with self._changing():
            failures = self.state.failures + 1
            wait = self._wait_after(cause, failures, recheck=recheck)
            rest = self._policy.rejected_for if rejected is not None else wait
            return self._fail(
                cause, endpoint, wait=wait, rest=rest, rejected=rejected, failures=failures
            )

    def adopt_failure(
        self, record: FailureRecord, *, rejected: Credentials | None, recheck: bool
    ) -> Failure:
        """Note that the exchange of another client failed; the arguments are as for `record_failure`."""
        with self._changing():
            rest = record.remaining
            recheck = recheck and rejected is not None
            return self._fail(
                to_cause(record),
                record.endpoint,
                wait=min(rest, self._policy.outage_backoff) if recheck else rest,
                rest=rest,
                rejected=rejected,
                failures=max(self.state.failures, record.failures),
            )

    def extend_rejection(self, failure: Failure) -> Failure:
        """Serve a refusal from memory for another moment, as the credentials have not changed."""
        with self._changing():
            again = self._clock.monotonic() + self._policy.outage_backoff
            until = min(again, failure.rejected_until)
            longer = attrs.evolve(failure, until=until)
            self.state = attrs.evolve(self.state, failure=longer)
            return longer

    def pass_over_refresh(self, seconds: float) -> None:
        """Ask Connect and not AppRefreshToken for *seconds* from now on."""
        with self._changing():
            until = self._clock.monotonic() + seconds
            self.state = self.state.passing_over_refresh(until)

    def passes_over_refresh(self) -> bool:
        """Return whether Connect is to be asked and not AppRefreshToken."""
        return self._clock.monotonic() < self.state.refresh_passed_over_until

    def leave_to_others(self) -> None:
        """Have nobody renew the token for a moment, and no longer than callers need not wait for it."""
        with self._changing():
            cached = self.state.cached
            if cached is not None:
                now = self._clock.monotonic()
                need = cached.requested_at + cached.schedule.must_after
                # For a moment at least: by a rounding error it may be over already.
                until = max(now + self._policy.lease_poll, min(now + LEFT_TO_OTHERS_FOR, need))
                self.state = attrs.evolve(self.state, left_until=until)

    def is_left_to_others(self) -> bool:
        """Return whether another client renews the token, and there is time to wait for that."""
        return self._clock.monotonic() < self.state.left_until

    def forget(self) -> None:
        """Drop the token and the failures, and supersede the refresh under way."""
        with self._changing():
            state = self.state
            self.state = attrs.evolve(
                state,
                cached=None,
                failure=None,
                rejection=None,
                failures=0,
                generation=state.generation + 1,
                forgotten=state.forgotten if state.cached is None else state.cached.version,
            )

    def note_client_id(self, client_id: str) -> None:
        """Note the account that the token is for from now on."""
        with self._changing():
            self.state = attrs.evolve(self.state, client_id=client_id)

    def _fail(
        self,
        cause: Cause,
        endpoint: str,
        *,
        wait: float,
        rest: float,
        rejected: Credentials | None,
        failures: int,
    ) -> Failure:
        """Serve a failure from memory for *wait* seconds; the server is asked again after *rest*."""
        now = self._clock.monotonic()
        failure = Failure(
            cause=cause,
            endpoint=endpoint,
            until=now + wait,
            retry_at=self._clock.wall() + rest,
            rejected=rejected,
            rejected_until=now + rest,
            ahead_of_need=self.alive() is not None,
        )
        rejection = self.state.rejection if rejected is None else failure
        self.state = attrs.evolve(
            self.state, failure=failure, rejection=rejection, failures=failures
        )
        return failure

    def _wait_after(self, cause: Cause, failures: int, *, recheck: bool) -> float:
        if isinstance(cause, Refused):
            return self._policy.outage_backoff if recheck else self._policy.rejected_for
        retry_after = cause.retry_after if isinstance(cause, Unavailable) else None
        wait = self._policy.outage_wait(failures, retry_after)
        cached = self.alive()
        if cached is None:
            return wait
        # Tries become more frequent towards its end; a caller that needs a token then waits for none.
        return min(wait, max(self._policy.outage_backoff, cached.remaining(self._clock) / 2))

    def _replace(self, cached: CachedToken) -> None:
        self.state = attrs.evolve(self.state, cached=cached)

    def _changing(self) -> threading.Lock:
        # The lock itself: a KeyboardInterrupt within a context manager of ours could leave it taken.
        if self._pid != os.getpid():
            self._start_anew_after_fork()
        return self._mutex

    def _start_anew_after_fork(self) -> None:
        # A thread that does not exist in this process may have held the mutex.
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        cached = self.state.cached
        if cached is not None:
            # The parent will spend the refresh token.
            self._replace(attrs.evolve(cached, refresh_spent=True))
