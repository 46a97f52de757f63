"""
TokenProvider: the state machine of one token, and the only writer of its state.

Rules of this file:

- It knows neither HTTP nor files. The exchange, the store, the clock and randomness come in.
- All state is in the cache, one immutable value that is read without a lock. Only the cache changes
  it, and only this file, `lease_wait` and `renewal` ask it to.
- No lock is held while a resource request runs, while user code runs, or across a `yield`.
- What can go wrong is a value (`Failure`) until the last moment: an exception raised here would carry
  frames that callers' error reporters capture.

Theory of operation:

A token passes through stages (`Freshness`). FRESH: use it; nothing is awaited. DUE: the first caller to
notice renews it, all others use it. PRESSING and GONE: callers need the next one. `acquire` is a loop
over "look at the stage; use, fail from memory, lead a flight, or wait for the leader's", so whoever
has waited looks again before it does anything.

A flight has three gates, each narrower: the seat (one task per event loop), the runway (one loop per
process), the store's lease (one process of all). Behind the last one the leader reads the store
again, adopts what others have put there, and only then asks the server: the refresh token first, if
it is good, else the credentials.

A refresh token is spent the moment it is sent: the mark is written first, in memory and in the store,
and taken back only if the server certainly never looked at the request. Whoever finds a spent one
logs in. A refresh token that others may hold too is only sent under the lease.

What has been received is saved and held even if the leader is cancelled at that moment; until it is
saved nobody uses it.
"""

from __future__ import annotations

import math
import os
import time

from typing import TYPE_CHECKING, Final, final

import anyio

from taxizer_async import _events as events
from taxizer_async._errors import TokenStoreError
from taxizer_async._models import AuthStatus, TokenState
from taxizer_async._policy import HEALTHY_FACTOR, KEEPER_LOOKS_EVERY, Freshness
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.errand import Errand, Tools
from taxizer_async._token.failures import Failure
from taxizer_async._token.guarded_store import GuardedStore
from taxizer_async._token.lease_wait import Renewal
from taxizer_async._token.single_flight import Airfield


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._clock import Clock
    from taxizer_async._outcomes import Exchange
    from taxizer_async._policy import RenewalPolicy
    from taxizer_async._reporter import Reporter
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.credentials_source import CredentialsSource
    from taxizer_async._token.errand import Endpoints
    from taxizer_async._token.single_flight import Flight, Seat
    from taxizer_async.stores import TokenStore


_TOKEN_STATES: Final = {
    Freshness.FRESH: TokenState.FRESH,
    Freshness.RENEW_AHEAD: TokenState.RENEWAL_DUE,
    Freshness.MUST_RENEW: TokenState.RENEWAL_DUE,
    Freshness.EXPIRED: TokenState.EXPIRED,
}


@final
class TokenProvider:
    """
    Gives out a usable token to any number of tasks, event loops and threads.

    Args:
        endpoints: Whose tokens they are, and where to get them.
        credentials: A pair, or a callable that returns one.
        exchange: Asks the token endpoints.
        store: Where the token is shared.
        policy: All durations and limits.
        clock: For lifetimes and back-off.
        random: Numbers in [0, 1), for jitter.
        reporter: Hears of all that happens.
    """

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        credentials: CredentialsSource,
        exchange: Exchange,
        store: TokenStore,
        policy: RenewalPolicy,
        clock: Clock,
        random: Callable[[], float],
        reporter: Reporter,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._reporter = reporter
        self._airfield_now = Airfield()
        self._store = GuardedStore(store, timeout=policy.store_timeout, reporter=reporter)
        self._cache = TokenCache(
            policy=policy,
            clock=clock,
            random=random,
            client_id=credentials.fixed.client_id if credentials.fixed else None,
        )
        self._renewal = Renewal(
            Tools(
                endpoints=endpoints,
                credentials=credentials,
                exchange=exchange,
                store=self._store,
                cache=self._cache,
                policy=policy,
                clock=clock,
                random=random,
                reporter=reporter,
            )
        )
        #: The fast path: the token if it is fresh, without waiting for anything; else None.
        self.fresh: Final = self._cache.fresh

    async def acquire(self) -> CachedToken:
        """
        Return a usable token; log in, renew, or wait for who does, if it takes that.

        Raises:
            AuthError: If there is none, and none can be had now.
            ConfigurationError: If the user's part (credentials, http_client) failed.
        """
        while True:
            held, stage = self._cache.state.cached, self._cache.freshness()
            failure = self._cache.active_failure()
            if held is not None and stage is not Freshness.EXPIRED:
                patient = failure is not None or self._airfield().keepers > 0
                if patient or stage is Freshness.FRESH:
                    return held
            elif failure is not None:
                raise failure.error(from_memory=True)
            seat = self._airfield().seat()
            flight = seat.try_lead()
            if flight is not None:
                await self._fly(
                    seat, flight, waits=stage is not Freshness.RENEW_AHEAD, for_caller=True
                )
            elif held is not None and stage is Freshness.RENEW_AHEAD:
                return held
            else:
                flight = seat.flight
                await (flight.wait() if stage is Freshness.EXPIRED else self._wait_a_while(flight))
            alive = self._cache.alive() or flight.held
            if alive is not None:
                return alive
            if flight.failure is not None:
                raise flight.failure.error()

    def accept(self, held: CachedToken) -> None:
        """Note that the server took *held*."""
        self._cache.accept(held)

    def refuse(self, held: CachedToken) -> bool:
        """
        Note that the server answered 401 to *held*; say whether another token is worth a try.

        A 401 for a token that was replaced meanwhile costs nothing.
        """
        renewing = self._cache.refuse(held)
        if renewing is None:
            return True
        self._reporter.add(events.TokenRefused(renewing=renewing))
        return renewing

    async def keep_fresh(self) -> None:
        """Renew ahead of need until cancelled; failures are backed off, and never raised."""
        airfield = self._airfield()
        airfield.add_keeper(1)
        try:
            while True:
                await self._keep(airfield.seat())
        finally:
            airfield.add_keeper(-1)

    async def forget(self) -> None:
        """
        Drop the token here and in the store; what is being asked for now is not held either.

        Raises:
            TokenStoreError: If the store could not drop it.
            AuthError: If the credentials callable failed, so that it is unknown whose token it is.
        """
        self._cache.forget()
        key = await self._renewal.key()
        if isinstance(key, Failure):
            raise key.error()
        cleared = await self._store.clear(key)
        # Who came while the store was being cleared may have found the record still there.
        self._cache.forget()
        self._airfield().seat().announce_change()
        self._reporter.add(events.Forgotten())
        await self._reporter.deliver()
        if not cleared:
            msg = (
                f"the token store could not drop the token ({self._store.failing}): it is dropped in "
                "this process, but others may go on with it; try again when the store is back"
            )
            raise TokenStoreError(msg)

    def status(self) -> AuthStatus:
        """Return what can be said of the token now."""
        state = self._cache.state
        held, failure = state.cached, state.failure
        remaining = held.remaining(self._clock) if held else math.inf
        return AuthStatus(
            state=self._token_state(held),
            usable=self._cache.alive() is not None,
            expires_in=remaining if math.isfinite(remaining) else None,
            refreshable=held is not None and held.refreshable(self._clock),
            keep_fresh_running=self._airfield().keepers > 0,
            last_error=failure.describe() if failure else None,
            retry_at=failure.retry_at_utc if failure else None,
            logins=state.logins,
            renewals=state.renewals,
            adoptions=state.adoptions,
            store_failing=self._store.failing is not None,
        )

    def _token_state(self, held: CachedToken | None) -> TokenState:
        if held is None:
            return TokenState.NONE
        if held.refused:
            return TokenState.REFUSED
        return _TOKEN_STATES[held.freshness(self._clock)]

    async def _wait_a_while(self, flight: Flight) -> None:
        with anyio.move_on_after(self._patience()):
            await flight.wait()

    async def _fly(self, seat: Seat, flight: Flight, *, waits: bool, for_caller: bool) -> None:
        try:
            result = await self._renewal.run(self._errand(waits=waits), self._airfield())
            if isinstance(result, Failure):
                flight.failure = result
            # It may have been forgotten while the lease was given back.
            elif result is not None and result.same_token(self._cache.state.cached):
                flight.held = result
        finally:
            seat.land(flight)
            self._report_waits(flight, for_caller=for_caller)
        await self._reporter.deliver()

    def _report_waits(self, flight: Flight, *, for_caller: bool) -> None:
        waits = tuple(flight.waits)
        if for_caller:
            waits += (time.monotonic() - flight.began,)
        if waits:
            self._reporter.add(events.TokenAwaited(callers=len(waits), waits=waits))

    def _errand(self, *, waits: bool) -> Errand:
        policy, state, alive = self._policy, self._cache.state, self._cache.alive()
        attempts, seconds = policy.attempts, policy.exchange_timeout
        if alive is not None:
            # The back-off between single tries is in what is remembered of a failure.
            attempts, seconds = 1, policy.attempt_timeout
        return Errand(
            stale=state.cached,
            attempts=attempts,
            seconds=seconds,
            waits=min(policy.lease_wait, self._patience()) if waits else 0.0,
            urgent=alive is None,
            epoch=state.epoch,
        )

    async def _keep(self, seat: Seat) -> None:
        changed = seat.changed
        wait = self._until_renewal()
        if wait > 0:
            await self._sleep(changed, min(wait, KEEPER_LOOKS_EVERY))
            return
        flight = seat.try_lead()
        if flight is None:
            await seat.flight.wait()
        else:
            await self._fly(seat, flight, waits=True, for_caller=False)

    def _patience(self) -> float:
        """Return how long a renewal may be waited for: a token that lives is not waited to death."""
        held = self._cache.alive()
        if held is None:
            return math.inf
        return self._policy.patience(held.remaining(self._clock), self._cache.state.last_elapsed)

    def _until_renewal(self) -> float:
        """Return the seconds until `keep_fresh` has to do something."""
        failure = self._cache.active_failure()
        pause = failure.until - self._clock.monotonic() if failure else 0.0
        held = self._cache.alive()
        if held is None:
            return pause
        margin = HEALTHY_FACTOR * self._cache.state.last_elapsed
        due = held.lifespan.keep_after(margin) - held.age(self._clock)
        return max(due, pause)

    async def _sleep(self, changed: anyio.Event, seconds: float) -> None:
        """Sleep, but not through a change of the token."""

        async def wake_on_change() -> None:
            await changed.wait()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wake_on_change)
            await self._clock.sleep(seconds)
            tasks.cancel_scope.cancel()

    def _airfield(self) -> Airfield:
        if self._airfield_now.pid != os.getpid():
            self._airfield_now = Airfield()
        return self._airfield_now
