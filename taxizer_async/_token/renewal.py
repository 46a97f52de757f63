"""
What is done with the lease in hand: look into the store, refresh or log in, save.

Everything that goes wrong is returned as a `Failure`: only cancellation leaves as an exception. Whoever
forgets the token meanwhile (`TokenCache.forget`) is respected after each await.
"""

from __future__ import annotations

import os

from typing import TYPE_CHECKING, TypeAlias, TypeVar, final

import anyio
import attrs

from taxizer_async import _events as events
from taxizer_async._models import Credentials
from taxizer_async._outcomes import (
    Effort,
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    Unavailable,
)
from taxizer_async._token.cached_token import CachedToken, from_issued
from taxizer_async._token.credentials_source import ask_credentials
from taxizer_async._token.errand import Again
from taxizer_async._token.failures import Failure
from taxizer_async._token.guarded_store import NoLease, SaveResult


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async._events import ExchangeKind
    from taxizer_async._models import Secret
    from taxizer_async._outcomes import Outcome
    from taxizer_async._token.errand import Errand, Tools
    from taxizer_async._token.failures import Cause
    from taxizer_async.stores import Lease, StoreKey, TokenRecord


T = TypeVar("T")

_Ask: TypeAlias = "Callable[[Callable[[Issued], None]], Awaitable[Outcome]]"


@final
class Issuance:
    """
    One attempt to get a token for *errand* with *lease*, or with none if the store is down.

    Args:
        tools: The provider's.
        errand: What it is about.
        key: Whose token it is.
        lease: `NoLease.DOWN` keeps away from the store, and from refresh tokens that are shared.
    """

    __slots__ = ("_effort", "_errand", "_key", "_lease", "_tools")

    def __init__(self, tools: Tools, errand: Errand, key: StoreKey, lease: Lease | NoLease) -> None:
        self._tools = tools
        self._errand = errand
        self._key = key
        self._lease = None if isinstance(lease, NoLease) else lease
        self._effort = Effort(
            attempts=errand.attempts, deadline=anyio.current_time() + errand.seconds
        )

    async def run(self) -> CachedToken | Failure | Again:
        """Adopt what is in the store, or refresh it, or log in."""
        record = await self._tools.store.load(self._key) if self._lease else None
        adopted = adopt(self._tools, self._errand, record)
        if adopted is not None:
            return adopted
        if self._is_outdated:
            return self._start_over()
        held = self._refreshable(record)
        refresh_token = held.token.refresh_token if held else None
        if held is not None and refresh_token is not None:
            result = await self._refresh(held, refresh_token)
            if result is not None:
                return result
        return await self.log_in()

    async def log_in(self) -> CachedToken | Failure | Again:
        """Log in at Connect, unless these very credentials were refused a moment ago."""
        credentials: Credentials | Failure | None
        credentials, self._errand.asked = self._errand.asked, None
        if credentials is None:
            credentials = await self._with_heartbeat(lambda: ask(self._tools))
        if isinstance(credentials, Failure):
            return credentials
        if credentials.client_id != self._key.client_id:
            self._errand.asked = credentials
            self._tools.cache.note_client_id(credentials.client_id)
            return Again.NOW
        known = self._tools.cache.rejection_of(credentials)
        if known is not None:
            return self._tools.cache.serve_longer(known)
        if self._lease is not None and await self._tools.store.lost(self._lease):
            # A process that was stopped meanwhile finds that others have gone on.
            self._errand.asked = credentials
            return Again.LATER
        connect, began = self._tools.exchange.connect, self._tools.clock.monotonic()
        result = await self._perform(
            lambda received: connect(credentials, self._effort, received), login=True
        )
        if isinstance(result, (CachedToken, Again)):
            return result
        rejected = credentials if isinstance(result, Refused) else None
        return fail(
            self._tools,
            result,
            self._tools.endpoints.connect,
            rejected=rejected,
            kind="connect",
            elapsed=self._since(began),
        )

    def _refreshable(self, record: TokenRecord | None) -> CachedToken | None:
        cache, clock = self._tools.cache, self._tools.clock
        held = None if record is None or cache.outdates(record) else cache.hold(record)
        if held is None or not held.refreshable(clock):
            held = cache.private()
        return held if held is not None and held.refreshable(clock) else None

    async def _refresh(
        self, held: CachedToken, refresh_token: Secret
    ) -> CachedToken | Failure | Again | None:
        """Return None if a login has to follow."""
        marked = await self._mark(held, spent=True)
        if marked is not SaveResult.SAVED:
            return Again.LATER if marked is SaveResult.LEASE_LOST else None
        if self._is_outdated:
            # The mark may have brought back what was cleared.
            await self._tools.store.clear(self._key)
            return self._start_over()
        refresh, began = self._tools.exchange.refresh, self._tools.clock.monotonic()
        result = await self._perform(
            lambda received: refresh(refresh_token, self._effort, received), login=False
        )
        elapsed = self._since(began)
        if isinstance(result, (CachedToken, Again)):
            return result
        if self._is_outdated:
            return self._start_over()
        if isinstance(result, Misconfigured) or (
            isinstance(result, Unavailable) and result.untouched
        ):
            await self._mark(held, spent=False)
            return fail(
                self._tools,
                result,
                self._tools.endpoints.refresh,
                kind="refresh",
                elapsed=elapsed,
            )
        self._tools.reporter.add(
            events.RefreshRefused(
                reason=_reason(result), status_code=result.status_code, elapsed=elapsed
            )
        )
        return None

    async def _mark(self, held: CachedToken, *, spent: bool) -> SaveResult:
        shared = self._lease is not None
        self._tools.cache.mark_spent(held.version, spent=spent, shared=shared)
        if self._lease is None:
            return SaveResult.SAVED
        record = attrs.evolve(held, refresh_spent=spent).record(self._tools.clock)
        return await self._tools.store.save(self._key, record, self._lease)

    async def _perform(
        self, call: _Ask, *, login: bool
    ) -> CachedToken | Again | Refused | Unavailable | Malformed | Misconfigured:
        received: list[Issued] = []
        kept: CachedToken | Again = Again.NOW
        try:
            outcome = await self._with_heartbeat(lambda: call(received.append))
        finally:
            if received:
                kept = await self._keep(received[0], login=login)
        return kept if isinstance(outcome, Issued) else outcome

    async def _with_heartbeat(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._lease is None or self._lease.heartbeat is None:
            return await call()
        outcomes: list[T] = []
        async with anyio.create_task_group() as heart:
            heart.start_soon(self._tools.store.keep, self._lease)
            outcomes.append(await call())
            heart.cancel_scope.cancel()
        return outcomes[0]

    async def _keep(self, issued: Issued, *, login: bool) -> CachedToken | Again:
        if self._is_outdated:
            return self._start_over()
        tools, stale = self._tools, self._errand.stale
        held = from_issued(
            issued,
            version=os.urandom(8).hex(),
            clock=tools.clock,
            policy=tools.policy,
            jitter=tools.random(),
            answers_refusal=stale is not None and stale.refused,
        )
        saved: SaveResult | None = None
        is_held = False
        try:
            if self._lease is not None:
                record = held.record(tools.clock)
                saved = await tools.store.save(self._key, record, self._lease)
        finally:
            # A save that failed or was cut short may have been done all the same.
            shared = self._lease is not None and saved is not SaveResult.LEASE_LOST
            held = attrs.evolve(held, shared=shared)
            is_held = tools.cache.issue(
                held, login=login, elapsed=issued.elapsed, epoch=self._errand.epoch
            )
            happened = events.LoggedIn if login else events.Renewed
            tools.reporter.add(happened(elapsed=issued.elapsed, expires_at=issued.token.expires_at))
        if not is_held:
            await tools.store.clear(self._key)
            return self._start_over()
        if saved is SaveResult.LEASE_LOST:
            return adopt(tools, self._errand, await tools.store.load(self._key)) or held
        return held

    def _since(self, began: float) -> float:
        return self._tools.clock.monotonic() - began

    @property
    def _is_outdated(self) -> bool:
        return self._tools.cache.state.epoch != self._errand.epoch

    def _start_over(self) -> Again:
        self._errand.epoch, self._errand.stale = self._tools.cache.state.epoch, None
        return Again.NOW


def adopt(tools: Tools, errand: Errand, record: TokenRecord | None) -> CachedToken | None:
    """Hold *record* if it replaces the stale token."""
    if record is None:
        return None
    held = tools.cache.adopt(record, errand.stale, epoch=errand.epoch)
    if held is not None:
        tools.reporter.add(events.Adopted(expires_at=held.token.expires_at))
    return held


async def ask(tools: Tools) -> Credentials | Failure:
    """Ask for the credentials."""
    asked = await ask_credentials(tools.credentials, seconds=tools.policy.exchange_timeout)
    if isinstance(asked, Credentials):
        return asked
    return fail(tools, asked, tools.endpoints.connect)


def fail(
    tools: Tools,
    cause: Cause,
    endpoint: str,
    *,
    rejected: Credentials | None = None,
    kind: ExchangeKind | None = None,
    elapsed: float = 0.0,
) -> Failure:
    """Remember that there is no new token, and report it; *kind* was asked, if anything was."""
    ahead_of_need = tools.cache.alive() is not None
    failure = tools.cache.remember(
        cause,
        endpoint=endpoint,
        rejected=rejected,
        recheck=tools.credentials.fixed is None,
    )
    tools.reporter.add(
        events.ExchangeFailed(
            reason=failure.describe(),
            status_code=failure.status_code,
            retry_at=failure.retry_at_utc,
            ahead_of_need=ahead_of_need,
            # A misconfigured http_client sent nothing.
            kind=None if isinstance(cause, Misconfigured) else kind,
            elapsed=elapsed,
            error=failure.error_name,
        )
    )
    return failure


def _reason(outcome: Refused | Unavailable | Malformed) -> str:
    match outcome:
        case Unavailable(reason=reason):
            return f"{reason}, so the server may have taken it"
        case Malformed(excerpt=excerpt):
            return f"the answer was {excerpt}"
        case Refused():
            return "the server refused it"
