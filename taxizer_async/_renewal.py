"""
What a flight's leader does: take the lease, look again, refresh or log in, save, give it back.

Everything that goes wrong is returned as a `Failure`: only cancellation leaves as an exception.
`_provider` says why things are in this order.
"""

from __future__ import annotations

import secrets

from typing import TYPE_CHECKING, Final, final

import anyio
import attrs

from taxizer_async import _events as events
from taxizer_async._credentials_source import ask_credentials
from taxizer_async._failures import Failure
from taxizer_async._guarded_store import NoLease, SaveResult
from taxizer_async._held import Held, hold_issued
from taxizer_async._models import Credentials
from taxizer_async._outcomes import (
    Effort,
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    Unavailable,
)
from taxizer_async.stores import StoreKey


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async._clock import Clock
    from taxizer_async._credentials_source import CredentialsSource
    from taxizer_async._errand import Endpoints, Errand
    from taxizer_async._failures import Cause
    from taxizer_async._flight import Airfield
    from taxizer_async._guarded_store import GuardedStore
    from taxizer_async._ledger import Ledger
    from taxizer_async._outcomes import Exchange, Outcome
    from taxizer_async._policy import RenewalPolicy
    from taxizer_async._reporter import Reporter
    from taxizer_async.stores import Lease, TokenRecord


class _Again:
    """The ground has shifted (another client_id, a lost lease, a `forget`): look again."""


_AGAIN: Final = _Again()


@final
class Renewal:
    """Runs errands; keeps nothing between two of them. For the arguments see `TokenProvider`."""

    __slots__ = (
        "_clock",
        "_credentials",
        "_endpoints",
        "_exchange",
        "_ledger",
        "_policy",
        "_random",
        "_reporter",
        "_store",
    )

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        credentials: CredentialsSource,
        exchange: Exchange,
        store: GuardedStore,
        ledger: Ledger,
        policy: RenewalPolicy,
        clock: Clock,
        random: Callable[[], float],
        reporter: Reporter,
    ) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        self._exchange = exchange
        self._store = store
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._random = random
        self._reporter = reporter

    async def run(self, errand: Errand, airfield: Airfield) -> Held | Failure | None:
        """Return the token that replaces the stale one; None if somebody else sees to that."""
        give_up_at = self._clock.monotonic() + errand.waits
        while True:
            key = await self.key(errand)
            if isinstance(key, Failure):
                return key
            result = await self._take_off(errand, key, airfield)
            if isinstance(result, (Held, Failure)) or errand.waits <= 0:
                return None if isinstance(result, _Again) else result
            seen = await self._look_around(errand, key, into_store=result is not None)
            if seen is not None:
                return seen
            if self._clock.monotonic() >= give_up_at:
                if not errand.urgent:
                    return None
                # The refresh token may be in the hands of who sits on the lease.
                alone = await self._login(errand, key, NoLease.DOWN, self._effort(errand))
                if not isinstance(alone, _Again):
                    return alone
            await self._clock.sleep(self._policy.lease_poll * (0.5 + self._random()))

    async def _take_off(
        self, errand: Errand, key: StoreKey, airfield: Airfield
    ) -> Held | Failure | _Again | None:
        """Return None if another loop of this process is on its way."""
        with airfield.try_runway() as cleared:
            if not cleared:
                return None
            lease = await self._store.lease(key)
            if lease is NoLease.BUSY:
                return _AGAIN
            return await self._with_lease(errand, key, lease)

    async def _look_around(
        self, errand: Errand, key: StoreKey, *, into_store: bool
    ) -> Held | Failure | None:
        """Return what others have come to meanwhile."""
        seen = self._ledger.successor(errand.stale) or self._ledger.active_failure()
        if seen is None and into_store:
            return await self._look(errand, key)
        return seen

    async def key(self, errand: Errand | None = None) -> StoreKey | Failure:
        """Return whose token it is; asks for the credentials if that is not known yet."""
        client_id = self._ledger.state.client_id
        if client_id is None:
            asked = await self._ask()
            if isinstance(asked, Failure):
                return asked
            if errand is not None:
                errand.asked = asked
            client_id = asked.client_id
            self._ledger.note_client_id(client_id)
        return StoreKey(self._endpoints.base_url, client_id)

    async def _with_lease(
        self, errand: Errand, key: StoreKey, lease: Lease | NoLease
    ) -> Held | Failure | _Again:
        try:
            held = self._ledger.successor(errand.stale)
            if held is not None:
                return held
            record = None
            if not isinstance(lease, NoLease):
                record = await self._store.load(key)
            adopted = self._adopt(errand, record)
            if adopted is not None:
                return adopted
            return await self._ask_server(errand, key, lease, record)
        finally:
            if not isinstance(lease, NoLease):
                await self._store.release(lease)

    async def _look(self, errand: Errand, key: StoreKey) -> Held | None:
        return self._adopt(errand, await self._store.load(key))

    def _adopt(self, errand: Errand, record: TokenRecord | None) -> Held | None:
        if record is None:
            return None
        held = self._ledger.adopt(record, errand.stale, epoch=errand.epoch)
        if held is not None:
            self._reporter.add(events.Adopted(expires_at=held.token.expires_at))
        return held

    async def _ask_server(
        self,
        errand: Errand,
        key: StoreKey,
        lease: Lease | NoLease,
        record: TokenRecord | None,
    ) -> Held | Failure | _Again:
        effort = self._effort(errand)
        held = None if record is None else self._ledger.hold(record)
        if held is None or not held.refreshable(self._clock):
            held = self._ledger.private()
        if held is not None and held.refreshable(self._clock):
            result = await self._refresh(errand, key, lease, held, effort)
            if result is not None:
                return result
        return await self._login(errand, key, lease, effort)

    async def _refresh(
        self,
        errand: Errand,
        key: StoreKey,
        lease: Lease | NoLease,
        held: Held,
        effort: Effort,
    ) -> Held | Failure | _Again | None:
        refresh_token = held.token.refresh_token
        if refresh_token is None:
            return None
        marked = await self._mark(key, held, lease, spent=True)
        if marked is SaveResult.LEASE_LOST:
            return _AGAIN
        if marked is SaveResult.DOWN:
            return None
        result = await self._perform(
            lambda received: self._exchange.refresh(refresh_token, effort, received),
            errand,
            key,
            lease,
            login=False,
        )
        if isinstance(result, (Held, _Again)):
            return result
        if isinstance(result, Misconfigured) or (
            isinstance(result, Unavailable) and result.untouched
        ):
            await self._mark(key, held, lease, spent=False)
            return self._fail(result, self._endpoints.refresh)
        self._reporter.add(
            events.RefreshRefused(reason=_reason(result), status_code=result.status_code)
        )
        return None

    async def _mark(
        self,
        key: StoreKey,
        held: Held,
        lease: Lease | NoLease,
        *,
        spent: bool,
    ) -> SaveResult:
        self._ledger.mark_spent(held.version, spent=spent)
        if isinstance(lease, NoLease):
            return SaveResult.SAVED
        marked = attrs.evolve(held, refresh_spent=spent)
        return await self._store.save(key, marked.record(self._clock), lease)

    async def _login(
        self, errand: Errand, key: StoreKey, lease: Lease | NoLease, effort: Effort
    ) -> Held | Failure | _Again:
        asked, errand.asked = errand.asked, None
        credentials = asked or await self._ask()
        if isinstance(credentials, Failure):
            return credentials
        if credentials.client_id != key.client_id:
            errand.asked = credentials
            self._ledger.note_client_id(credentials.client_id)
            return _AGAIN
        known = self._ledger.rejection_of(credentials)
        if known is not None:
            return self._ledger.serve_longer(known)
        result = await self._perform(
            lambda received: self._exchange.connect(credentials, effort, received),
            errand,
            key,
            lease,
            login=True,
        )
        if isinstance(result, (Held, _Again)):
            return result
        rejected = credentials if isinstance(result, Refused) else None
        return self._fail(result, self._endpoints.connect, rejected)

    async def _perform(
        self,
        ask: Callable[[Callable[[Issued], None]], Awaitable[Outcome]],
        errand: Errand,
        key: StoreKey,
        lease: Lease | NoLease,
        *,
        login: bool,
    ) -> Held | _Again | Refused | Unavailable | Malformed | Misconfigured:
        received: list[Issued] = []
        kept: Held | _Again = _AGAIN
        try:
            outcome = await self._beating(lease, ask, received)
        finally:
            if received:
                kept = await self._keep(received[0], errand, key, lease, login=login)
        return kept if isinstance(outcome, Issued) else outcome

    async def _beating(
        self,
        lease: Lease | NoLease,
        ask: Callable[[Callable[[Issued], None]], Awaitable[Outcome]],
        received: list[Issued],
    ) -> Outcome:
        if isinstance(lease, NoLease) or lease.heartbeat is None:
            return await ask(received.append)
        outcome: Outcome = Unavailable(reason="cut short")
        async with anyio.create_task_group() as heart:
            heart.start_soon(self._store.keep, lease)
            outcome = await ask(received.append)
            heart.cancel_scope.cancel()
        return outcome

    async def _keep(
        self,
        issued: Issued,
        errand: Errand,
        key: StoreKey,
        lease: Lease | NoLease,
        *,
        login: bool,
    ) -> Held | _Again:
        if self._ledger.state.epoch != errand.epoch:
            return self._start_over(errand)
        stale = errand.stale
        held = hold_issued(
            issued,
            version=secrets.token_hex(8),
            clock=self._clock,
            policy=self._policy,
            jitter=self._random(),
            answers_refusal=stale is not None and stale.refused,
        )
        saved: SaveResult | None = None
        remembered = False
        try:
            if not isinstance(lease, NoLease):
                saved = await self._store.save(key, held.record(self._clock), lease)
        finally:
            # A save that failed or was cut short may have been done all the same.
            in_store = not isinstance(lease, NoLease)
            shared = in_store and saved is not SaveResult.LEASE_LOST
            held = attrs.evolve(held, shared=shared)
            remembered = self._ledger.issue(
                held, login=login, elapsed=issued.elapsed, epoch=errand.epoch
            )
            happened = events.LoggedIn if login else events.Renewed
            self._reporter.add(happened(elapsed=issued.elapsed, expires_at=issued.token.expires_at))
        if not remembered:
            await self._store.clear(key)
            return self._start_over(errand)
        if saved is SaveResult.LEASE_LOST:
            return await self._look(errand, key) or held
        return held

    def _start_over(self, errand: Errand) -> _Again:
        errand.epoch, errand.stale = self._ledger.state.epoch, None
        return _AGAIN

    async def _ask(self) -> Credentials | Failure:
        asked = await ask_credentials(self._credentials, seconds=self._policy.exchange_timeout)
        if isinstance(asked, Credentials):
            return asked
        return self._fail(asked, self._endpoints.connect)

    def _fail(self, cause: Cause, endpoint: str, rejected: Credentials | None = None) -> Failure:
        ahead_of_need = self._ledger.alive() is not None
        failure = self._ledger.remember(
            cause,
            endpoint=endpoint,
            rejected=rejected,
            recheck=self._credentials.fixed is None,
        )
        self._reporter.add(
            events.ExchangeFailed(
                reason=failure.describe(),
                status_code=failure.status_code,
                retry_at=failure.retry_at_utc,
                ahead_of_need=ahead_of_need,
            )
        )
        return failure

    def _effort(self, errand: Errand) -> Effort:
        return Effort(attempts=errand.attempts, deadline=anyio.current_time() + errand.seconds)


def _reason(outcome: Refused | Unavailable | Malformed) -> str:
    match outcome:
        case Unavailable(reason=reason):
            return f"{reason}, so the server may have taken it"
        case Malformed(excerpt=excerpt):
            return f"the answer was {excerpt}"
        case Refused():
            return "the server refused it"
