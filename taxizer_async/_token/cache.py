"""
The state of one token in this process: one immutable value, and every change that it can undergo.

Reads take no lock. Changes are made here and nowhere else, under a mutex that is held for a few
statements and never across an await. There is no I/O here, and no decision about what to do next.
"""

from __future__ import annotations

import math
import os
import threading

from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import attrs

from taxizer_async._core.exchange import Refused, Unavailable
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cache_state import CacheState
from taxizer_async._token.cached_token import CachedToken, from_record
from taxizer_async._token.failures import Failure
from taxizer_async._token.refusals import after_acceptance, after_refusal, is_news


if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.models import Credentials
    from taxizer_async._core.policy import RenewalPolicy
    from taxizer_async._token.failures import Cause
    from taxizer_async._token.places import Verdict
    from taxizer_async.stores import TokenRecord


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
        held = self.state.cached
        if held is not None and self._monotonic() < held.fresh_until:
            return held
        return None

    def freshness(self) -> Freshness:
        """Return how the token that is held may be used."""
        held = self.state.cached
        return Freshness.EXPIRED if held is None else held.freshness(self._clock)

    def alive(self) -> CachedToken | None:
        """Return the token unless it is refused or dead."""
        held = self.state.cached
        if held is None or held.freshness(self._clock) is Freshness.EXPIRED:
            return None
        return held

    def refused(self) -> CachedToken | None:
        """Return the token if it was refused, but has not ended: it is better than none."""
        held = self.state.cached
        if held is None or not held.refused or held.is_over(self._monotonic()):
            return None
        return held

    def replacement_for(self, stale: CachedToken | None) -> CachedToken | None:
        """Return the token if it is good and another than *stale*."""
        held = self.state.cached
        if held is None or held.same_token(stale):
            return None
        return (
            held
            if held.freshness(self._clock) in (Freshness.FRESH, Freshness.RENEW_AHEAD)
            else None
        )

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

    def private(self) -> CachedToken | None:
        """Return what is held, if nobody else can have its refresh token."""
        with self._changing():
            held = self.state.cached
        return None if held is None or held.shared else held

    def hold(self, record: TokenRecord) -> CachedToken:
        """Return what would be held of *record*."""
        return from_record(record, clock=self._clock, policy=self._policy, jitter=self._random())

    def accept(self, held: CachedToken, place: str, *, sent_at: float) -> bool:
        """
        Note that *place* accepted *held*.

        Args:
            held: The token that was sent.
            place: Where it was sent; empty if that is unknown.
            sent_at: When it was sent (`Clock.monotonic`).

        Returns:
            Whether the token in use was being replaced, and turns out to be good.
        """
        now = self._clock.monotonic()
        if not is_news(self.state, held, place, sent_at=sent_at, now=now):
            return False
        with self._changing():
            self.state, is_good = after_acceptance(
                self.state, held, place, sent_at=sent_at, now=now, policy=self._policy
            )
            return is_good

    def refuse(
        self, held: CachedToken, place: str = "", *, sent_at: float = math.inf
    ) -> tuple[Verdict, bool]:
        """
        Note that *place* answered 401 to *held*.

        Args:
            held: The token that was sent.
            place: Where it was sent; empty if that is unknown, and then the token is at fault.
            sent_at: When it was sent (`Clock.monotonic`).

        Returns:
            What follows, and whether that is to be reported: once per token it is.
        """
        now = self._clock.monotonic()
        with self._changing():
            self.state, verdict, is_reported = after_refusal(
                self.state, held, place, sent_at=sent_at, now=now, policy=self._policy
            )
            return verdict, is_reported

    def issue(self, held: CachedToken, *, login: bool, elapsed: float, epoch: int) -> bool:
        """Hold a token that was just issued; False if a `forget` since *epoch* forbids it."""
        with self._changing():
            state = self.state
            current = state.cached
            is_late = current is not None and current.requested_at > held.requested_at
            if state.epoch != epoch or is_late:
                return state.epoch == epoch
            self.state = attrs.evolve(
                state,
                cached=held,
                failure=None,
                rejection=None,
                failures=0,
                last_elapsed=elapsed,
                logins=state.logins + login,
                renewals=state.renewals + (not login),
            )
            return True

    def outdates(self, record: TokenRecord) -> bool:
        """
        Say whether what is held was asked for after *record* was.

        Then the store was set back, by a restart from a snapshot or the like: the refresh token in it
        may have been sent long ago.
        """
        held = self.state.cached
        if held is None or held.version == record.version:
            return False
        return record.age > held.age(self._clock)

    def adopt(
        self, record: TokenRecord, stale: CachedToken | None, *, epoch: int
    ) -> CachedToken | None:
        """
        Hold what the store had, if it is good and newer than what is held, which is *stale* as a rule.

        None, too, if a token was forgotten since *epoch*.
        """
        held = self.hold(record)
        good = held.freshness(self._clock) in (Freshness.FRESH, Freshness.RENEW_AHEAD)
        if not good or held.same_token(stale) or self.outdates(record):
            return None
        if self.is_forgotten(record):
            return None
        with self._changing():
            if self.state.epoch != epoch:
                return None
            self.state = attrs.evolve(
                self.state,
                cached=held,
                failure=None,
                failures=0,
                adoptions=self.state.adoptions + 1,
            )
        return held

    def is_forgotten(self, record: TokenRecord) -> bool:
        """Return whether *record* is of the token that was dropped last: others may save it once more."""
        return record.version == self.state.forgotten

    def mark_spent(self, version: str, *, spent: bool, shared: bool) -> None:
        """
        Note whether the refresh token of the token called *version* was sent.

        Where that is written into the store, too, others find the token there: then it is *shared*.
        """
        with self._changing():
            held = self.state.cached
            if held is not None and held.version == version:
                shared = shared or held.shared
                self._replace(attrs.evolve(held, refresh_spent=spent, shared=shared))

    def remember(
        self, cause: Cause, *, endpoint: str, rejected: Credentials | None, recheck: bool
    ) -> Failure:
        """
        Note that an exchange failed.

        Args:
            cause: What it came to.
            endpoint: The URL that was asked.
            rejected: The credentials that were refused, if they were.
            recheck: Whether credentials may change by themselves, so that a refusal is only served
                unasked for a moment.
        """
        with self._changing():
            now = self._clock.monotonic()
            failures = self.state.failures + 1
            wait = self._wait_after(cause, failures, recheck=recheck)
            refused_for = self._policy.rejected_for if rejected is not None else wait
            failure = Failure(
                cause=cause,
                endpoint=endpoint,
                until=now + wait,
                retry_at=self._clock.wall() + refused_for,
                rejected=rejected,
                rejected_until=now + refused_for,
                ahead_of_need=self.alive() is not None,
            )
            rejection = self.state.rejection if rejected is None else failure
            self.state = attrs.evolve(
                self.state, failure=failure, rejection=rejection, failures=failures
            )
            return failure

    def serve_longer(self, failure: Failure) -> Failure:
        """Serve a refusal unasked for another moment, as the credentials have not changed."""
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

    def forget(self) -> None:
        """Drop the token, what is remembered of failures, and whatever is being asked for now."""
        with self._changing():
            state = self.state
            self.state = attrs.evolve(
                state,
                cached=None,
                failure=None,
                rejection=None,
                failures=0,
                epoch=state.epoch + 1,
                forgotten=state.forgotten if state.cached is None else state.cached.version,
            )

    def note_client_id(self, client_id: str) -> None:
        """Note the account that the token is for from now on."""
        with self._changing():
            self.state = attrs.evolve(self.state, client_id=client_id)

    def _wait_after(self, cause: Cause, failures: int, *, recheck: bool) -> float:
        if isinstance(cause, Refused):
            return self._policy.outage_backoff if recheck else self._policy.rejected_for
        retry_after = cause.retry_after if isinstance(cause, Unavailable) else None
        wait = self._policy.outage_wait(failures, retry_after)
        held = self.alive()
        if held is None:
            return wait
        # Tries become more frequent towards its end; a caller that needs a token then waits for none.
        return min(wait, max(self._policy.outage_backoff, held.remaining(self._clock) / 2))

    def _replace(self, held: CachedToken) -> None:
        self.state = attrs.evolve(self.state, cached=held)

    @contextmanager
    def _changing(self) -> Generator[None]:
        if self._pid != os.getpid():
            self._start_anew_after_fork()
        with self._mutex:
            yield

    def _start_anew_after_fork(self) -> None:
        # A thread that does not exist in this process may have held the mutex.
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        held = self.state.cached
        if held is not None:
            # The parent will spend the refresh token.
            self._replace(attrs.evolve(held, refresh_spent=True))
