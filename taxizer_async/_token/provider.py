"""
TokenProvider: the state machine of one token, and the only writer of its state.

Rules of this file:
- It knows neither HTTP nor files. The exchange, the store, the clock and randomness are passed in.
- All state is in the cache, one immutable value that is read without a lock. Only the cache changes
  it, and only this file, `lease_wait` and `renewal` ask it to.
- No lock is held while a resource request runs, while user code runs, or across a `yield`.
- What can go wrong is a value (`Failure`) until the last moment: an exception raised here would carry
  frames that callers' error reporters capture.

Theory of operation:

A token passes through stages (`Freshness`). FRESH: use it; nothing is awaited. RENEW_AHEAD: the first
caller to notice starts a refresh, and all go on with the token. MUST_RENEW: callers wait for the refresh,
but not for long. EXPIRED: they wait until it ends. `acquire` is a loop over "look at the stage; use, fail
from memory, or wait for the refresh that is under way", so a caller that has waited looks again.

A refresh belongs to no caller. It runs in a task of its own (`single_flight`): though all callers leave, it
finishes, saves the token and tells. An anyio lock orders the refreshes of an event loop, and the store's
lease those of all that share a store. A refresh first looks into the store, and takes what others have saved
there: a good token, or a failure that would be its own, too. Otherwise it takes the lease, looks again, and
only then asks the server: with the refresh token if that is good, else with the credentials. While another
client holds the lease, it looks again, less and less often; ahead of need it ends instead.

A failure is shared if the server answered. After any other, another client may be luckier, so the lease is
given back before the next attempt.

A refresh token is spent the moment it is sent: the mark is written first, in memory and in the store,
and taken back only if the request certainly did not arrive. A spent one leads to a login. A refresh
token that others may have, too, is only sent under the lease. A token is saved before anyone uses it.
`tests/campaigns/protocol` takes these steps in every order, through every crash.
"""

from __future__ import annotations

import math
import time

from collections.abc import Callable
from contextvars import Context
from typing import Final, final

import anyio

from taxizer_async._core import events
from taxizer_async._core.clock import Clock
from taxizer_async._core.errors import AuthError, ConfigurationError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.event_loops import move_on_after, running_loop, start_task
from taxizer_async._core.exchange import Exchange, Unavailable
from taxizer_async._core.log_lines import LOG
from taxizer_async._core.models import AuthStatus, Token
from taxizer_async._core.policy import (
    HEALTHY_FACTOR,
    KEEP_FRESH_INTERVAL,
    LONGEST_WAIT_FOR_REPLACEMENT,
    Freshness,
    RenewalPolicy,
)
from taxizer_async._core.process import PerProcess
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cached_token import CachedToken, token_state
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.failures import Failure, not_cleared, untimed
from taxizer_async._token.guarded_store import GuardedStore
from taxizer_async._token.lease_wait import LeaseWait
from taxizer_async._token.places import Verdict
from taxizer_async._token.renewal import Renewal
from taxizer_async._token.renewal_request import Endpoints, NoResult, RenewalRequest, Result
from taxizer_async._token.single_flight import (
    RefreshCoordinator,
    SharedRefresh,
    Sleeper,
    sleep_unless,
)
from taxizer_async.stores import StoreKey, TokenStore


@final
class TokenProvider:
    """
    Gives out a usable token to any number of tasks, event loops and threads.

    Args:
        endpoints: The API that the tokens are for, and where to get them.
        credentials: A pair, or a callable that returns one.
        exchange: Asks the token endpoints.
        store: Where the token is shared.
        policy: All durations and limits.
        clock: For lifetimes and back-off.
        random: Numbers in [0, 1), for jitter.
        event_log: Hears of all that happens.
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
        event_log: EventLog,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._event_log = event_log
        self._store = GuardedStore(
            store, timeout=policy.store_timeout, clock=clock, event_log=event_log
        )
        #: Is read without a lock on the fast path.
        self.cache: Final = TokenCache(
            policy=policy,
            clock=clock,
            random=random,
            client_id=credentials.fixed.client_id if credentials.fixed else None,
        )
        self._renewal = Renewal(
            endpoints=endpoints,
            credentials=credentials,
            exchange=exchange,
            store=self._store,
            cache=self.cache,
            policy=policy,
            clock=clock,
            random=random,
            event_log=event_log,
        )
        self._failures = self._renewal.failures
        self._lease_wait = LeaseWait(self._renewal)
        self.own_coordinator: Final = PerProcess(lambda: RefreshCoordinator(self._run))

    async def acquire(self) -> CachedToken:
        """
        Return a usable token; if necessary start a refresh, or wait for the one under way.

        Raises:
            AuthError: If there is none, and none can be had now.
            ConfigurationError: If the user's part (credentials, http_client) failed.
        """
        while True:
            cached = self.cache.state.cached
            freshness = cached.freshness(self._clock) if cached else Freshness.EXPIRED
            failure = self.cache.active_failure()
            found: CachedToken | Failure | None
            refused = self.cache.refused()
            if refused is not None:
                found = await self._wait_for_replacement(refused, failure)
            elif cached is None or freshness is Freshness.EXPIRED:
                if failure is not None and failure.answers_need:
                    raise failure.error(from_memory=True)
                # Not in a method: each member of a cold crowd would pay for the call.
                refresh, native = self._join_or_start(cached)
                await refresh.wait(native)
                found = self.cache.alive() or refresh.result
                if isinstance(found, Failure) and found.answers_need:
                    raise found.error()
            elif freshness is Freshness.FRESH or failure is not None:
                return cached
            else:
                found = await self._go_on_or_wait(cached, freshness)
            if isinstance(found, CachedToken):
                return found

    async def _go_on_or_wait(self, cached: CachedToken, freshness: Freshness) -> CachedToken | None:
        """Have *cached* renewed; if it must be, wait for that, but not for long."""
        if self.cache.is_left_to_others():
            return cached
        refresh, native = self._join_or_start(cached)
        if freshness is Freshness.RENEW_AHEAD:
            return cached
        with move_on_after(self._follower_timeout(refresh)):
            await refresh.wait(native)
        return self.cache.alive()

    async def _wait_for_replacement(
        self, refused: CachedToken, failure: Failure | None
    ) -> CachedToken | None:
        """Wait for the replacement of a refused token, but not for long: the token may be good elsewhere."""
        if failure is None:
            refresh, native = self._join_or_start(refused)
            waited = time.monotonic() - refresh.began
            with move_on_after(LONGEST_WAIT_FOR_REPLACEMENT - waited):
                # A refresh that began before the refusal may have brought the refused token.
                while (again := self.cache.refused()) and self.cache.state.failure is None:
                    refresh, native = self._join_or_start(again)
                    await refresh.wait(native)
        return self.cache.alive() or self.cache.refused()

    def note_acceptance(self, cached: CachedToken, place: str, *, sent_at: float) -> None:
        """Note that *place* accepted *cached*, which was sent at *sent_at* (`Clock.monotonic`)."""
        if self.cache.note_acceptance(cached, place, sent_at=sent_at):
            self._coordinator().let_callers_go()

    def note_refusal(self, cached: CachedToken, place: str, *, sent_at: float) -> Verdict:
        """Note that *place* answered 401 to *cached*; return what follows."""
        verdict, is_news = self.cache.note_refusal(cached, place, sent_at=sent_at)
        if is_news:
            self._event_log.emit(events.TokenRefused(renewing=verdict is Verdict.RENEW))
        return verdict

    async def replacement_for(self, cached: CachedToken) -> CachedToken | Failure | None:
        """
        Return the token to use instead of *cached*, which was refused.

        Returns:
            None if *cached* turned out to be good elsewhere, or the server issues it again; a failure if
            there is no other.
        """
        failed: Failure | None = None
        while True:
            stale = self.cache.state.cached
            current, failure = self.cache.alive(), failed or self.cache.active_failure()
            if current is not None and current.version != cached.version:
                return None if current.same_token(cached) else current
            if failure is not None and (current is not None or failure.answers_need):
                return None if current is not None else failure
            if current is not None and self.cache.is_left_to_others():
                return None
            refresh, native = self._join_or_start(stale)
            await refresh.wait(native)
            failed = refresh.result if isinstance(refresh.result, Failure) else None

    async def refused(self, token: Token, place: str) -> Token | None:
        """Do what `TaxizerAuth.refused` says."""
        cached = self.cache.state.cached
        if cached is not None and cached.token.jwt == token.jwt:
            verdict = self.note_refusal(cached, place, sent_at=self._clock.monotonic())
            if verdict is Verdict.HAND_BACK:
                return None
            found = await self.replacement_for(cached)
            return found.token if isinstance(found, CachedToken) else None
        try:
            return (await self.acquire()).token
        except (AuthError, ConfigurationError):
            return None  # it was logged and reported

    async def keep_fresh(self) -> None:
        """Renew ahead of need until cancelled; failures are backed off, and never raised."""
        with self._coordinator().sleeper() as sleeper:
            while True:
                await self._keep_fresh_step(sleeper)

    async def forget(self) -> None:
        """
        Drop the token here and in the store; what is being asked for now is not used either.

        Raises:
            TokenStoreError: If the store could not drop it.
            AuthError: If the credentials callable failed, so that the account is unknown.
        """
        self.drop()
        key, _ = await self._renewal.key()
        if not isinstance(key, StoreKey):
            raise self._failures.fail(key).error()
        cleared = await self._store.clear(key)
        # A refresh that began while the store was being cleared may have found the record still there.
        self.drop()
        self._event_log.emit(events.Forgotten())
        if not cleared:
            raise not_cleared(str(self._store.failing))

    def drop(self) -> None:
        """Drop the token in this process; callers wait no longer for what is under way."""
        self.cache.forget()
        self._coordinator().supersede()

    def status(self) -> AuthStatus:
        """Return what can be said of the token now."""
        state = self.cache.state
        cached, failure = state.cached, state.failure
        return AuthStatus(
            state=token_state(cached, self._clock),
            usable=self.cache.alive() is not None,
            expires_in=cached.expires_in(self._clock) if cached else None,
            refreshable=cached is not None and cached.refreshable(self._clock),
            keep_fresh_running=self._coordinator().keeps_fresh,
            last_error=failure.describe() if failure else None,
            retry_at=failure.retry_at_utc if failure else None,
            logins=state.logins,
            renewals=state.renewals,
            adoptions=state.adoptions,
            store_failing=self._store.failing is not None,
        )

    async def _run(self, refresh: SharedRefresh) -> None:
        """Run *refresh*, in its own task."""
        refresh.enter()
        refresh.guard = start_task(
            running_loop(), lambda: self._end_in_time(refresh), Context(), grace=0
        )
        try:
            result = await self._refresh_in_turn(refresh)
        except GeneratorExit:
            # Its loop is gone, and callers that need a token see that.
            raise
        except Exception as cause:  # noqa: BLE001 - callers wait, and an error in a system task ends trio
            # Its text and frames may hold what was sent.
            kind = type(cause).__name__
            problem = f"the refresh failed with {kind}, a bug in taxizer_async: please report it"
            LOG.error("%s", problem)
            result = self._fail(problem)
        except BaseException:
            if not refresh.is_over:
                problem = "the event loop ended before there was an answer"
                self._end(refresh, self._fail(problem))
            raise
        self._end(refresh, result)

    async def _end_in_time(self, refresh: SharedRefresh) -> None:
        """Let callers go if *refresh* does not end, because code of the user's hangs in it."""
        seconds = self._policy.exchange_timeout + self._policy.store_timeout
        await anyio.sleep(seconds)
        if not refresh.is_over:
            problem = f"the login did not end within {seconds:g} s"
            self._end(refresh, self._fail(problem))

    def _fail(self, problem: str) -> Failure:
        try:
            return self._failures.fail(Unavailable(reason=problem))
        except Exception as cause:  # noqa: BLE001 - it is of the user's clock
            problem = f"the clock failed with {type(cause).__name__}"
            return untimed(problem, self._failures.endpoints.connect)

    def _end(self, refresh: SharedRefresh, result: Result) -> None:
        self._coordinator().end(refresh, None if isinstance(result, NoResult) else result)
        if refresh.waits:
            waits = tuple(refresh.waits)
            self._event_log.emit(events.TokenAwaited(callers=len(waits), waits=waits))

    async def _refresh_in_turn(self, refresh: SharedRefresh) -> Result:
        deadline = self._clock.monotonic() + self._policy.exchange_timeout
        # A `forget` while it waits is respected.
        generation = self.cache.state.generation
        request = RenewalRequest(stale=refresh.stale, generation=generation, deadline=deadline)
        predecessor = refresh.predecessor
        if predecessor is not None and predecessor.lease is not None:
            # Its loop is gone or blocked: without the lease it can't save when it comes back.
            await self._store.release(predecessor.lease)
        lock = self._coordinator().lock()
        with anyio.move_on_after(self._policy.exchange_timeout) as scope:
            await lock.acquire()
        if scope.cancelled_caught:
            if self._renewal.is_superseded(request):
                return NoResult.SUPERSEDED
            return self._failures.fail(
                Unavailable(reason="the refresh before this one does not end")
            )
        try:
            failure = self.cache.active_failure()
            if failure is not None and (failure.answers_need or self.cache.alive() is not None):
                # The one before it has failed after all, while this waited.
                return failure
            return await self._lease_wait.run(request, refresh)
        finally:
            lock.release()

    async def _keep_fresh_step(self, sleeper: Sleeper) -> None:
        changed, stale = sleeper.changed, self.cache.state.cached
        wait = self._until_renewal()
        if wait > 0:
            await sleep_unless(changed, self._clock, min(wait, KEEP_FRESH_INTERVAL))
            return
        refresh, native = self._join_or_start(stale)
        await refresh.wait(native, counts=False)
        if isinstance(refresh.result, Failure) and refresh.result is not self.cache.state.failure:
            # It could not be kept, as the clock failed: no other pause comes of it.
            await anyio.sleep(KEEP_FRESH_INTERVAL)

    def _follower_timeout(self, refresh: SharedRefresh) -> float:
        """Return how long to wait for *refresh*: never past the expiry of a token that still works."""
        cached, state = self.cache.alive(), self.cache.state
        if cached is None:
            return math.inf
        if state.failure is not None:
            return 0.0
        longest = self._policy.follower_timeout(cached.remaining(self._clock), state.last_elapsed)
        return longest - (time.monotonic() - refresh.began)

    def _until_renewal(self) -> float:
        """Return the seconds until `keep_fresh` has to do something."""
        failure = self.cache.active_failure()
        pause = failure.until - self._clock.monotonic() if failure else 0.0
        cached = self.cache.alive()
        if cached is None:
            return pause
        margin = HEALTHY_FACTOR * self.cache.state.last_elapsed
        due = cached.schedule.keep_fresh_after(margin) - cached.age(self._clock)
        return max(due, pause, self.cache.state.left_until - self._clock.monotonic())

    def _join_or_start(self, stale: CachedToken | None) -> tuple[SharedRefresh, object]:
        """Return the refresh under way, or one of *stale* that starts now, and the running loop to wait on."""
        native = running_loop()
        return self._coordinator().join_or_start(native, stale), native

    def _coordinator(self) -> RefreshCoordinator:
        return self.own_coordinator.get()
