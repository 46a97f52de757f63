"""
What a flight's leader does to get the lease, and what it looks at until it has it.

What is done with the lease in hand is in `renewal`; `provider` says why things are in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

from taxizer_async._events import LeaseAwaited
from taxizer_async._outcomes import Misconfigured
from taxizer_async._policy import LOOKS_PER_LEASE
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.errand import Again
from taxizer_async._token.failures import Failure
from taxizer_async._token.guarded_store import NoLease
from taxizer_async._token.renewal import Issuance, adopt, ask, fail
from taxizer_async.stores import StoreKey


if TYPE_CHECKING:
    from taxizer_async._token.errand import Errand, Tools
    from taxizer_async._token.single_flight import Airfield
    from taxizer_async.stores import Lease


@final
class Renewal:
    """Runs errands with *tools*; keeps nothing between two of them."""

    __slots__ = ("_tools",)

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def run(self, errand: Errand, airfield: Airfield) -> CachedToken | Failure | None:
        """Return the token that replaces the stale one; None if somebody else sees to that."""
        clock = self._tools.clock
        give_up_at = clock.monotonic() + errand.waits
        while True:
            key = await self.key(errand)
            if isinstance(key, Failure):
                return key
            result = await self._take_off(errand, key, airfield)
            if result is Again.NOW:
                continue
            if isinstance(result, (CachedToken, Failure)) or errand.waits <= 0:
                return None if isinstance(result, Again) else result
            if errand.waiting_since is None:
                errand.waiting_since = clock.monotonic()
            seen = await self._watch(errand, key, give_up_at, into_store=result is not None)
            if seen is not None:
                self._end_wait(errand, "served")
                return seen
            if clock.monotonic() >= give_up_at:
                self._end_wait(errand, "gave_up")
                if not errand.urgent:
                    return None
                # The refresh token may be in the hands of who sits on the lease.
                alone = await Issuance(self._tools, errand, key, NoLease.DOWN).log_in()
                if not isinstance(alone, Again):
                    return alone

    async def key(self, errand: Errand | None = None) -> StoreKey | Failure:
        """Return whose token it is; asks for the credentials if that is not known yet."""
        cache = self._tools.cache
        client_id = cache.state.client_id
        if client_id is None:
            asked = await ask(self._tools)
            if isinstance(asked, Failure):
                return asked
            if errand is not None:
                errand.asked = asked
            client_id = asked.client_id
            cache.note_client_id(client_id)
        return StoreKey(self._tools.endpoints.base_url, client_id)

    async def _take_off(
        self, errand: Errand, key: StoreKey, airfield: Airfield
    ) -> CachedToken | Failure | Again | None:
        """Return None if another loop of this process is on its way."""
        with airfield.try_runway() as cleared:
            if not cleared:
                return None
            lease = await self._tools.store.lease(key)
            if lease is NoLease.BUSY:
                return Again.LATER
            self._end_wait(errand, "acquired")
            if isinstance(lease, Misconfigured):
                return fail(self._tools, lease, self._tools.endpoints.connect)
            return await self._with_lease(errand, key, lease)

    def _end_wait(self, errand: Errand, outcome: Literal["acquired", "served", "gave_up"]) -> None:
        since, errand.waiting_since = errand.waiting_since, None
        if since is not None:
            elapsed = self._tools.clock.monotonic() - since
            self._tools.reporter.add(LeaseAwaited(elapsed=elapsed, outcome=outcome))

    async def _with_lease(
        self, errand: Errand, key: StoreKey, lease: Lease | NoLease
    ) -> CachedToken | Failure | Again:
        try:
            held = self._tools.cache.successor(errand.stale)
            if held is not None:
                return held
            return await Issuance(self._tools, errand, key, lease).run()
        finally:
            if not isinstance(lease, NoLease):
                await self._tools.store.release(lease)

    async def _watch(
        self, errand: Errand, key: StoreKey, give_up_at: float, *, into_store: bool
    ) -> CachedToken | Failure | None:
        """Look around for as long as one waits between two attempts at the lease."""
        clock, policy = self._tools.clock, self._tools.policy
        for _ in range(LOOKS_PER_LEASE):
            seen = await self._look_around(errand, key, into_store=into_store)
            if seen is not None or clock.monotonic() >= give_up_at:
                return seen
            await clock.sleep(policy.lease_poll * (0.5 + self._tools.random()))
        return None

    async def _look_around(
        self, errand: Errand, key: StoreKey, *, into_store: bool
    ) -> CachedToken | Failure | None:
        """Return what others have come to meanwhile."""
        cache = self._tools.cache
        seen = cache.successor(errand.stale) or cache.active_failure()
        if seen is None and into_store:
            return adopt(self._tools, errand, await self._tools.store.load(key))
        return seen
