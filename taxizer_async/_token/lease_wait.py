"""
How a refresh gets the lease, and what it looks at until it has it.

What is done with the lease in hand is in `renewal`; `provider` says why things are in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from taxizer_async._core.events import LeaseAwaited
from taxizer_async._core.exchange import Misconfigured
from taxizer_async._core.policy import LONGEST_LEASE_POLL, POLLS_PER_LEASE_ATTEMPT
from taxizer_async._token.failures import LeaseNeverFree
from taxizer_async._token.guarded_store import NoLease
from taxizer_async._token.renewal_request import SUPERSEDED, Restart
from taxizer_async.stores import StoreKey


if TYPE_CHECKING:
    from taxizer_async._core.models import Credentials
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.failures import Failure
    from taxizer_async._token.renewal import Renewal
    from taxizer_async._token.renewal_request import RenewalRequest, Result, Step
    from taxizer_async._token.single_flight import SharedRefresh
    from taxizer_async.stores import Lease


@final
class LeaseWait:
    """Runs refreshes of *renewal*, each under the lease; keeps nothing between two of them."""

    __slots__ = ("_renewal",)

    def __init__(self, renewal: Renewal) -> None:
        self._renewal = renewal

    async def run(self, request: RenewalRequest, refresh: SharedRefresh) -> Result:
        """Return the token that replaces the stale one, or why there is none."""
        renewal = self._renewal
        asked: Credentials | None = None
        waiting_since: float | None = None
        pause = renewal.policy.lease_poll
        while not renewal.is_superseded(request):
            key, asked = await renewal.key(asked, seconds=renewal.seconds_left(request))
            if renewal.is_superseded(request):
                break
            if not isinstance(key, StoreKey):
                return renewal.fail(key)
            lease = await renewal.store.lease(key)
            if lease is not NoLease.BUSY:
                self._end_wait(waiting_since, "acquired")
                waiting_since = None
                result = await self._with_lease(request, refresh, key, lease, asked)
                if not isinstance(result, Restart):
                    return result
                asked = result.credentials
                continue
            if waiting_since is None:
                waiting_since = renewal.clock.monotonic()
            for _ in range(POLLS_PER_LEASE_ATTEMPT):
                seen = await self._poll_once(request, key)
                if seen is not None:
                    self._end_wait(waiting_since, "served")
                    return seen
                if renewal.is_superseded(request) or not renewal.seconds_left(request):
                    self._end_wait(waiting_since, "gave_up")
                    return self._give_up(request)
                await renewal.clock.sleep(pause * (0.5 + renewal.random()))
                pause = min(LONGEST_LEASE_POLL, 1.5 * pause)
        return SUPERSEDED

    async def _with_lease(
        self,
        request: RenewalRequest,
        refresh: SharedRefresh,
        key: StoreKey,
        lease: Lease | NoLease | Misconfigured,
        asked: Credentials | None,
    ) -> Step:
        renewal = self._renewal
        if isinstance(lease, Misconfigured):
            return renewal.fail(lease)
        if isinstance(lease, NoLease):
            return await renewal.run(request, key, None, asked)
        refresh.lease = lease
        try:
            return await renewal.run(request, key, lease, asked)
        finally:
            refresh.lease = None
            await renewal.store.release(lease)

    async def _poll_once(
        self, request: RenewalRequest, key: StoreKey
    ) -> CachedToken | Failure | None:
        """Return what others have come to meanwhile."""
        renewal = self._renewal
        seen = renewal.cache.replacement_for(request.stale)
        return seen or renewal.adopt(request, await renewal.store.load(key))

    def _give_up(self, request: RenewalRequest) -> Result:
        if self._renewal.is_superseded(request):
            return SUPERSEDED
        return self._renewal.fail(LeaseNeverFree(self._renewal.policy.exchange_timeout))

    def _end_wait(
        self, since: float | None, outcome: Literal["acquired", "served", "gave_up"]
    ) -> None:
        if since is not None:
            elapsed = self._renewal.clock.monotonic() - since
            self._renewal.event_log.emit(LeaseAwaited(elapsed=elapsed, outcome=outcome))
