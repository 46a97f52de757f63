"""
One refresh or login with the lease in hand: look into the store, ask a token endpoint, save.

Whatever goes wrong is returned as a `Failure`; only cancellation is raised. After each await it respects a
`forget()` that came meanwhile.
"""

from __future__ import annotations

import os

from collections.abc import Callable
from typing import TypeGuard, final

import attrs

from taxizer_async._core import events
from taxizer_async._core.clock import Clock
from taxizer_async._core.errors import TokenEndpointUnavailableError, TokenResponseError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.exchange import (
    Exchange,
    Issued,
    Malformed,
    Misconfigured,
    Outcome,
    Refused,
    RetryBudget,
    Unavailable,
)
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import LEASE_YIELDED_FOR, RenewalPolicy, is_time_for_attempt
from taxizer_async._core.secret import Secret
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cached_token import CachedToken, from_issued
from taxizer_async._token.credentials_source import CredentialsSource, ask_credentials
from taxizer_async._token.failure_memory import FailureMemory
from taxizer_async._token.failures import CredentialsUnavailable, Failure, describe_refresh
from taxizer_async._token.guarded_store import GuardedStore, SaveResult
from taxizer_async._token.renewal_request import (
    Endpoints,
    NoResult,
    Progress,
    RenewalRequest,
    Result,
    Step,
    Turn,
)
from taxizer_async._token.shared_failures import is_answer
from taxizer_async.stores import StoreKey, StoreView, TokenRecord


def _remember_failures(renewal: Renewal) -> FailureMemory:
    return FailureMemory(
        endpoints=renewal.endpoints,
        cache=renewal.cache,
        policy=renewal.policy,
        clock=renewal.clock,
        event_log=renewal.event_log,
        recheck=renewal.credentials.fixed is None,
    )


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Renewal:
    """Gets tokens for one provider, and shares its parts; see `TokenProvider`."""

    endpoints: Endpoints
    credentials: CredentialsSource
    exchange: Exchange
    store: GuardedStore
    cache: TokenCache
    policy: RenewalPolicy
    clock: Clock
    random: Callable[[], float]
    event_log: EventLog
    failures: FailureMemory = attrs.field(
        default=attrs.Factory(_remember_failures, takes_self=True), init=False
    )

    async def key(
        self, asked: Credentials | None = None, *, seconds: float | None = None
    ) -> tuple[StoreKey | CredentialsUnavailable | Misconfigured, Credentials | None]:
        """
        Return the key of the token, or why it is unknown, and the credentials if they were asked for.

        Args:
            asked: The credentials, if they were asked for already.
            seconds: How long asking for them may take, if the account is not known yet.
        """
        client_id = self.cache.state.client_id if asked is None else asked.client_id
        if client_id is None:
            credentials = await self.ask(
                seconds=self.policy.exchange_timeout if seconds is None else seconds
            )
            if not isinstance(credentials, Credentials):
                return credentials, None
            asked, client_id = credentials, credentials.client_id
        return StoreKey(self.endpoints.base_url, client_id), asked

    async def ask(self, *, seconds: float) -> Credentials | CredentialsUnavailable | Misconfigured:
        """Ask for the credentials, for *seconds* at most, and note their account."""
        credentials = await ask_credentials(self.credentials, seconds=seconds)
        if isinstance(credentials, Credentials):
            self.cache.note_client_id(credentials.client_id)
        return credentials

    async def look(self, key: StoreKey) -> StoreView:
        """Return what the store has for *key*; no failure that claims to last longer than clients remember any."""
        view = await self.store.look(key)
        failure = view.failure
        if failure is None or 0 < failure.remaining <= self.policy.longest_failure:
            return view
        return attrs.evolve(view, failure=None)

    def find(
        self, request: RenewalRequest, view: StoreView, credentials: Credentials | None
    ) -> Result | None:
        """
        Return what others have come to: a token, or a failure that spares this client the try.

        Args:
            request: What it is about.
            view: What the store has.
            credentials: The pair, if it is known.
        """
        found = self.cache.replacement_for(request.stale) or self.adopt(request, view.record)
        if found is not None:
            return found
        if self.is_superseded(request):
            return NoResult.SUPERSEDED
        failure = view.failure
        if failure is None:
            return None
        if failure.pair is None:
            is_enough = not (failure.ahead_of_need and self.is_needed(request))
            return self.failures.adopt(failure) if is_enough else None
        if credentials is None or self._refreshable(view.record) is not None:
            return None
        return self.failures.known_refusal(credentials, failure)

    def has_refusal(self, view: StoreView) -> bool:
        """Return whether *view* has a refusal of credentials, which may be those to be used."""
        failure = view.failure
        is_refusal = failure is not None and failure.pair is not None
        return is_refusal and self._refreshable(view.record) is None

    async def run(self, turn: Turn) -> Step:
        """Adopt what others have put into the store meanwhile, or refresh the token, or log in."""
        request = turn.request
        if turn.lease is not None:
            turn = attrs.evolve(turn, view=await self.look(turn.key))
            found = self.find(request, turn.view, turn.progress.credentials)
            if found is not None:
                return found
        if self.is_superseded(request):
            return NoResult.SUPERSEDED
        cached = None if self.cache.passes_over_refresh() else self._refreshable(turn.record)
        if cached is not None and cached.token.refresh_token is not None:
            result = await self._refresh(turn, cached, cached.token.refresh_token)
            if result is not None:
                return result
            if self.is_superseded(request):
                return NoResult.SUPERSEDED
        return await self._log_in(turn)

    def adopt(self, request: RenewalRequest, record: TokenRecord | None) -> CachedToken | None:
        """Use *record* from now on if it replaces the stale token."""
        if record is None:
            return None
        cached = self.cache.adopt(record, request.stale, generation=request.generation)
        if cached is not None:
            self.event_log.emit(events.Adopted(expires_at=cached.token.expires_at))
        return cached

    def is_superseded(self, request: RenewalRequest) -> bool:
        """Return whether the token was forgotten since *request* was made."""
        return self.cache.state.generation != request.generation

    def seconds_left(self, request: RenewalRequest) -> float:
        """Return the seconds until *request* has to be over."""
        return max(0.0, request.deadline - self.clock.monotonic())

    async def _share(self, turn: Turn, failure: Failure) -> Failure | NoResult:
        """Save *failure* if other clients would only get the same, and return it."""
        record = self.failures.record(failure)
        if turn.lease is None or record is None:
            return failure
        await self.store.save_failure(turn.key, record, turn.lease)
        return await self._clear_if_superseded(turn) or failure

    async def _clear_if_superseded(self, turn: Turn) -> NoResult | None:
        """If the token was forgotten, drop what was saved, maybe after that, and return SUPERSEDED."""
        if not self.is_superseded(turn.request):
            return None
        await self.store.clear(turn.key)
        return NoResult.SUPERSEDED

    def _refreshable(self, record: TokenRecord | None) -> CachedToken | None:
        cached = None
        if record is not None and not (
            self.cache.is_newer_than(record) or self.cache.is_forgotten(record)
        ):
            cached = self.cache.read(record)
        if cached is None or not cached.refreshable(self.clock):
            cached = self.cache.unshared()
        return cached if cached is not None and cached.refreshable(self.clock) else None

    async def _refresh(self, turn: Turn, cached: CachedToken, refresh_token: Secret) -> Step | None:
        """Mark and send it (`mark` to `answer` of tests/campaigns/protocol); None if a login has to follow."""
        request = turn.request
        marked = await self._mark(turn, cached, spent=True)
        if marked is not SaveResult.SAVED:
            return turn.progress if marked is SaveResult.LEASE_LOST else None
        superseded = await self._clear_if_superseded(turn)
        if superseded is not None:
            return superseded
        began = self.clock.monotonic()
        outcome = await self.store.hold(
            turn.lease, lambda: self.exchange.refresh(refresh_token, self._budget(turn))
        )
        if isinstance(outcome, Issued):
            return await self._keep(turn, outcome, login=False)
        if isinstance(outcome, (Unavailable, Malformed)):
            self.cache.pass_over_refresh(self.policy.refresh_passed_over)
        if self.is_superseded(request):
            return NoResult.SUPERSEDED
        if isinstance(outcome, Misconfigured) or (
            isinstance(outcome, Unavailable) and outcome.not_processed
        ):
            await self._mark(turn, cached, spent=False)
            superseded = await self._clear_if_superseded(turn)
            if superseded is not None:
                return superseded
        return await self._after_failed_refresh(turn, outcome, self.clock.monotonic() - began)

    async def _after_failed_refresh(
        self, turn: Turn, outcome: Refused | Unavailable | Malformed | Misconfigured, elapsed: float
    ) -> Step | None:
        """Return None if a login has to follow."""
        if isinstance(outcome, Misconfigured) or not (
            isinstance(outcome, Refused) or self.is_needed(turn.request)
        ):
            return await self._share(
                turn, self.failures.fail(outcome, kind="refresh", elapsed=elapsed)
            )
        self.event_log.emit(
            events.RefreshRefused(
                reason=describe_refresh(outcome),
                status_code=outcome.status_code,
                elapsed=elapsed,
                error=(
                    TokenEndpointUnavailableError
                    if isinstance(outcome, Unavailable)
                    else TokenResponseError
                ).__name__,
            )
        )
        return self._yield_lease(turn) if _stays_here(outcome) else None

    async def _log_in(self, turn: Turn) -> Step:
        """Log in at Connect, unless these very credentials were refused a moment ago."""
        credentials = turn.progress.credentials
        if credentials is None:
            asked = await self._ask(turn)
            if not isinstance(asked, Credentials):
                return asked
            credentials = asked
            turn = attrs.evolve(turn, progress=attrs.evolve(turn.progress, credentials=asked))
        if credentials.client_id != turn.key.client_id:
            return turn.progress
        known = self.failures.known_refusal(credentials, turn.view.failure)
        if known is not None:
            return known
        if turn.lease is not None and await self.store.lost(turn.lease):
            # A process that was stopped meanwhile finds that others have gone on.
            return turn.progress
        if self.is_superseded(turn.request):
            return NoResult.SUPERSEDED
        return await self._connect(turn, credentials)

    async def _ask(self, turn: Turn) -> Credentials | Failure | NoResult:
        seconds = self.seconds_left(turn.request)
        if not seconds:
            # As after the process was stopped for a while.
            return self.failures.fail(Unavailable(reason="there was no time left to ask it"))
        credentials = await self.store.hold(turn.lease, lambda: self.ask(seconds=seconds))
        if self.is_superseded(turn.request):
            return NoResult.SUPERSEDED
        return (
            credentials if isinstance(credentials, Credentials) else self.failures.fail(credentials)
        )

    async def _connect(self, turn: Turn, credentials: Credentials) -> Step:
        now = self.clock.monotonic()
        began = now if turn.progress.began is None else turn.progress.began
        turn = attrs.evolve(turn, progress=attrs.evolve(turn.progress, began=began))
        outcome = await self.store.hold(
            turn.lease, lambda: self.exchange.connect(credentials, self._budget(turn))
        )
        if isinstance(outcome, Issued):
            elapsed = now - began + outcome.elapsed
            return await self._keep(turn, attrs.evolve(outcome, elapsed=elapsed), login=True)
        if self.is_superseded(turn.request):
            return NoResult.SUPERSEDED
        if _stays_here(outcome) and self.is_needed(turn.request):
            attempts = turn.progress.attempts + 1
            progress = attrs.evolve(turn.progress, attempts=attempts, cause=outcome)
            yielded = self._yield_lease(
                attrs.evolve(turn, progress=progress),
                self.policy.retry_wait(attempts, self.random(), None),
            )
            if yielded is not None:
                return yielded
        return await self._share(turn, self.failures.fail_to_connect(turn.progress, outcome))

    def _yield_lease(self, turn: Turn, pause: float = LEASE_YIELDED_FOR) -> Progress | None:
        """
        Have the lease given back for *pause* seconds, and for long enough that others take it.

        Only this machine may see what has failed. Return None if there is no time left to try again.
        """
        resume_at = self.clock.monotonic() + max(pause, LEASE_YIELDED_FOR)
        if turn.lease is None or not is_time_for_attempt(resume_at, turn.request.deadline):
            return None
        return attrs.evolve(turn.progress, resume_at=resume_at)

    def _budget(self, turn: Turn) -> RetryBudget:
        return RetryBudget(
            deadline=turn.request.deadline,
            wants_more=lambda outcome: (
                self.is_needed(turn.request) and (turn.lease is None or is_answer(outcome))
            ),
        )

    def is_needed(self, request: RenewalRequest) -> bool:
        """Return whether callers have no token to go on with."""
        return self.cache.alive() is None and not self.is_superseded(request)

    async def _mark(self, turn: Turn, cached: CachedToken, *, spent: bool) -> SaveResult:
        self.cache.mark_spent(cached.version, spent=spent, shared=turn.lease is not None)
        if turn.lease is None:
            return SaveResult.SAVED
        record = attrs.evolve(cached, refresh_spent=spent).record(self.clock)
        return await self.store.save(turn.key, record, turn.lease)

    async def _keep(self, turn: Turn, issued: Issued, *, login: bool) -> CachedToken | NoResult:
        """Save what was issued, then use it (step `save` of tests/campaigns/protocol)."""
        request, key, lease = turn.request, turn.key, turn.lease
        if self.is_superseded(request):
            return NoResult.SUPERSEDED
        cached = from_issued(
            issued,
            version=os.urandom(8).hex(),
            clock=self.clock,
            policy=self.policy,
            jitter=self.random(),
            answers_refusal=request.stale is not None and request.stale.refused,
            by_refresh=not login,
        )
        saved: SaveResult | None = None
        try:
            if lease is not None:
                saved = await self.store.save(key, cached.record(self.clock), lease)
        finally:
            # A save that failed or was cut short may have been done all the same; so may one that was refused,
            # as a store makes a call once more if its answer is lost.
            cached = attrs.evolve(cached, shared=lease is not None)
            is_used = self.cache.set_issued(
                cached, login=login, elapsed=issued.elapsed, generation=request.generation
            )
            happened = events.LoggedIn if login else events.Renewed
            self.event_log.emit(
                happened(
                    elapsed=issued.elapsed,
                    expires_at=issued.token.expires_at,
                    endpoint=self.endpoints.connect if login else self.endpoints.refresh,
                )
            )
        if not is_used:
            await self.store.clear(key)
            return NoResult.SUPERSEDED
        if saved is SaveResult.LEASE_LOST:
            return self.adopt(request, (await self.store.look(key)).record) or cached
        return cached


def _stays_here(outcome: Outcome) -> TypeGuard[Unavailable | Malformed]:
    """Return whether *outcome* may be this machine's alone, so that another attempt may go better."""
    return isinstance(outcome, (Unavailable, Malformed)) and not is_answer(outcome)
