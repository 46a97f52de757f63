"""
One refresh or login with the lease in hand: look into the store, ask a token endpoint, save.

Everything that goes wrong is returned as a `Failure`: only cancellation leaves as an exception. A
`forget()` meanwhile is respected after each await.
"""

from __future__ import annotations

import os

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, TypeVar, final

import anyio
import attrs

from taxizer_async._core import events
from taxizer_async._core.clock import Clock
from taxizer_async._core.errors import TokenEndpointUnavailableError, TokenResponseError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.event_loops import running_loop, start_task
from taxizer_async._core.exchange import (
    Exchange,
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    RetryBudget,
    Unavailable,
)
from taxizer_async._core.models import Credentials
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cached_token import from_issued
from taxizer_async._token.credentials_source import CredentialsSource, ask_credentials
from taxizer_async._token.guarded_store import GuardedStore, SaveResult
from taxizer_async._token.renewal_request import SUPERSEDED, Endpoints, Restart
from taxizer_async.stores import StoreKey


if TYPE_CHECKING:
    from collections.abc import Awaitable

    from taxizer_async._core.events import ExchangeKind
    from taxizer_async._core.secret import Secret
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.failures import Cause, CredentialsUnavailable, Failure
    from taxizer_async._token.renewal_request import RenewalRequest, Step, Superseded
    from taxizer_async.stores import Lease, TokenRecord


T = TypeVar("T")


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

    async def key(
        self, asked: Credentials | None = None, *, seconds: float | None = None
    ) -> tuple[StoreKey | CredentialsUnavailable | Misconfigured, Credentials | None]:
        """
        Return the key of the token, or why it is unknown, and the credentials if they were asked for.

        Args:
            asked: The credentials, if they were asked for already.
            seconds: How long asking for them may take, if that is not known yet.
        """
        client_id = self.cache.state.client_id if asked is None else asked.client_id
        if client_id is None:
            credentials = await ask_credentials(
                self.credentials,
                seconds=self.policy.exchange_timeout if seconds is None else seconds,
            )
            if not isinstance(credentials, Credentials):
                return credentials, None
            asked, client_id = credentials, credentials.client_id
            self.cache.note_client_id(client_id)
        return StoreKey(self.endpoints.base_url, client_id), asked

    async def run(
        self,
        request: RenewalRequest,
        key: StoreKey,
        lease: Lease | None,
        asked: Credentials | None,
    ) -> Step:
        """
        Adopt what is in the store, or refresh it, or log in.

        Args:
            request: What it is about.
            key: The API and the account.
            lease: None if the store is down; then it is left alone, and so are refresh tokens that
                others may have, too.
            asked: The credentials, if they were asked for already.
        """
        newer = self.cache.replacement_for(request.stale)
        if newer is not None:
            return newer
        record = await self.store.load(key) if lease else None
        if record is not None and self.cache.is_forgotten(record):
            record = None
        adopted = self.adopt(request, record)
        if adopted is not None:
            return adopted
        if self.is_superseded(request):
            return SUPERSEDED
        cached = None if self.cache.passes_over_refresh() else self._refreshable(record)
        refresh_token = cached.token.refresh_token if cached else None
        if cached is not None and refresh_token is not None:
            result = await self._refresh(request, key, lease, cached, refresh_token)
            if result is not None:
                return result
            if self.is_superseded(request):
                return SUPERSEDED
        return await self._log_in(request, key, lease, asked)

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

    def fail(
        self,
        cause: Cause,
        *,
        rejected: Credentials | None = None,
        kind: ExchangeKind | None = None,
        elapsed: float = 0.0,
    ) -> Failure:
        """Remember that there is no new token, and report it; *kind* was asked, if anything was."""
        failure = self.cache.record_failure(
            cause,
            endpoint=self.endpoints.refresh if kind == "refresh" else self.endpoints.connect,
            rejected=rejected,
            recheck=self.credentials.fixed is None,
        )
        self.event_log.emit(
            events.ExchangeFailed(
                reason=failure.describe(),
                status_code=failure.status_code,
                retry_at=failure.retry_at_utc,
                ahead_of_need=failure.ahead_of_need,
                # A misconfigured http_client sent nothing.
                kind=None if isinstance(cause, Misconfigured) else kind,
                elapsed=elapsed,
                error=failure.error_name,
            )
        )
        return failure

    def seconds_left(self, request: RenewalRequest) -> float:
        """Return the seconds until *request* has to be over."""
        return max(0.0, request.deadline - self.clock.monotonic())

    def _refreshable(self, record: TokenRecord | None) -> CachedToken | None:
        cached = None
        if record is not None and not self.cache.is_newer_than(record):
            cached = self.cache.read(record)
        if cached is None or not cached.refreshable(self.clock):
            cached = self.cache.unshared()
        return cached if cached is not None and cached.refreshable(self.clock) else None

    async def _refresh(
        self,
        request: RenewalRequest,
        key: StoreKey,
        lease: Lease | None,
        cached: CachedToken,
        refresh_token: Secret,
    ) -> Step | None:
        """Return None if a login has to follow."""
        marked = await self._mark(key, lease, cached, spent=True)
        if marked is not SaveResult.SAVED:
            return Restart() if marked is SaveResult.LEASE_LOST else None
        if self.is_superseded(request):
            # The mark may have brought back what was cleared.
            await self.store.clear(key)
            return SUPERSEDED
        began = self.clock.monotonic()
        outcome = await self._with_heartbeat(
            lease, lambda: self.exchange.refresh(refresh_token, self._budget(request))
        )
        if isinstance(outcome, Issued):
            return await self._keep(request, key, lease, outcome, login=False)
        if isinstance(outcome, (Unavailable, Malformed)):
            self.cache.pass_over_refresh(self.policy.refresh_passed_over)
        if self.is_superseded(request):
            return SUPERSEDED
        if isinstance(outcome, Misconfigured) or (
            isinstance(outcome, Unavailable) and outcome.not_processed
        ):
            await self._mark(key, lease, cached, spent=False)
            if self.is_superseded(request):
                # Likewise.
                await self.store.clear(key)
                return SUPERSEDED
        return self._after_failed_refresh(request, outcome, self.clock.monotonic() - began)

    def _after_failed_refresh(
        self,
        request: RenewalRequest,
        outcome: Refused | Unavailable | Malformed | Misconfigured,
        elapsed: float,
    ) -> Failure | None:
        """Return None if a login has to follow."""
        if isinstance(outcome, Misconfigured):
            return self.fail(outcome, kind="refresh", elapsed=elapsed)
        if not isinstance(outcome, Refused) and not self._is_needed(request):
            return self.fail(outcome, kind="refresh", elapsed=elapsed)
        self.event_log.emit(
            events.RefreshRefused(
                reason=_reason(outcome),
                status_code=outcome.status_code,
                elapsed=elapsed,
                error=(
                    TokenEndpointUnavailableError
                    if isinstance(outcome, Unavailable)
                    else TokenResponseError
                ).__name__,
            )
        )
        return None

    async def _log_in(
        self,
        request: RenewalRequest,
        key: StoreKey,
        lease: Lease | None,
        asked: Credentials | None,
    ) -> Step:
        """Log in at Connect, unless these very credentials were refused a moment ago."""
        credentials: Credentials | CredentialsUnavailable | Misconfigured | None = asked
        if credentials is None:
            seconds = self.seconds_left(request)
            if not seconds:
                # As after the process was stopped for a while.
                return self.fail(Unavailable(reason="there was no time left to ask it"))
            credentials = await self._with_heartbeat(
                lease, lambda: ask_credentials(self.credentials, seconds=seconds)
            )
        if self.is_superseded(request):
            return SUPERSEDED
        if not isinstance(credentials, Credentials):
            return self.fail(credentials)
        if credentials.client_id != key.client_id:
            self.cache.note_client_id(credentials.client_id)
            return Restart(credentials)
        known = self.cache.rejection_of(credentials)
        if known is not None:
            return self.cache.extend_rejection(known)
        return await self._connect(request, key, lease, credentials)

    async def _connect(
        self, request: RenewalRequest, key: StoreKey, lease: Lease | None, credentials: Credentials
    ) -> Step:
        if lease is not None and await self.store.lost(lease):
            # A process that was stopped meanwhile finds that others have gone on.
            return Restart(credentials)
        if self.is_superseded(request):
            return SUPERSEDED
        began = self.clock.monotonic()
        outcome = await self._with_heartbeat(
            lease, lambda: self.exchange.connect(credentials, self._budget(request))
        )
        if isinstance(outcome, Issued):
            return await self._keep(request, key, lease, outcome, login=True)
        if self.is_superseded(request):
            return SUPERSEDED
        return self.fail(
            outcome,
            rejected=credentials if isinstance(outcome, Refused) else None,
            kind="connect",
            elapsed=self.clock.monotonic() - began,
        )

    def _budget(self, request: RenewalRequest) -> RetryBudget:
        return RetryBudget(deadline=request.deadline, wants_more=lambda: self._is_needed(request))

    def _is_needed(self, request: RenewalRequest) -> bool:
        """Return whether callers have no token to go on with."""
        return self.cache.alive() is None and not self.is_superseded(request)

    async def _mark(
        self, key: StoreKey, lease: Lease | None, cached: CachedToken, *, spent: bool
    ) -> SaveResult:
        self.cache.mark_spent(cached.version, spent=spent, shared=lease is not None)
        if lease is None:
            return SaveResult.SAVED
        record = attrs.evolve(cached, refresh_spent=spent).record(self.clock)
        return await self.store.save(key, record, lease)

    async def _with_heartbeat(self, lease: Lease | None, call: Callable[[], Awaitable[T]]) -> T:
        if lease is None or lease.heartbeat is None:
            return await call()
        # In a task like the refresh's own: the end of the loop cancels those of task groups.
        done, ended = anyio.Event(), anyio.Event()

        async def beat() -> None:
            try:
                await self.store.keep(lease, done)
            finally:
                ended.set()

        task = start_task(running_loop(), beat, Context())
        try:
            result = await call()
        except BaseException:
            task.cancel()
            raise
        # A beat that is under way is not cut off: it has a connection of the store's.
        done.set()
        await ended.wait()
        return result

    async def _keep(
        self,
        request: RenewalRequest,
        key: StoreKey,
        lease: Lease | None,
        issued: Issued,
        *,
        login: bool,
    ) -> CachedToken | Superseded:
        if self.is_superseded(request):
            return SUPERSEDED
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
        is_used = False
        try:
            if lease is not None:
                saved = await self.store.save(key, cached.record(self.clock), lease)
        finally:
            # A save that failed or was cut short may have been done all the same.
            shared = lease is not None and saved is not SaveResult.LEASE_LOST
            cached = attrs.evolve(cached, shared=shared)
            is_used = self.cache.set_issued(
                cached, login=login, elapsed=issued.elapsed, generation=request.generation
            )
            happened = events.LoggedIn if login else events.Renewed
            self.event_log.emit(
                happened(elapsed=issued.elapsed, expires_at=issued.token.expires_at)
            )
        if not is_used:
            await self.store.clear(key)
            return SUPERSEDED
        if saved is SaveResult.LEASE_LOST:
            return self.adopt(request, await self.store.load(key)) or cached
        return cached


def _reason(outcome: Refused | Unavailable | Malformed) -> str:
    match outcome:
        case Unavailable(reason=reason, not_processed=True):
            return reason
        case Unavailable(reason=reason):
            return f"{reason}, so the server may have taken it"
        case Malformed(excerpt=excerpt):
            return f"the answer was {excerpt}"
        case Refused():
            return "the server refused it"
