"""
How a refresh gets the lease, and what it looks at until it has it.

What is done with the lease in hand is in `renewal`; `provider` says why things are in this order.
"""

from __future__ import annotations

from typing import Literal, TypeVar, final

import attrs

from taxizer_async._core.clock import FROZEN, is_frozen
from taxizer_async._core.events import LeaseAwaited
from taxizer_async._core.exchange import NO_TIME, Misconfigured, Unavailable
from taxizer_async._core.models import Credentials
from taxizer_async._token.failures import LeaseNeverFree
from taxizer_async._token.guarded_store import NoLease
from taxizer_async._token.renewal import Renewal
from taxizer_async._token.renewal_request import (
    NoResult,
    Progress,
    RenewalRequest,
    Result,
    Step,
    Turn,
)
from taxizer_async._token.single_flight import SharedRefresh
from taxizer_async.stores import StoreKey, StoreView


StepT = TypeVar("StepT")


@final
class LeaseWait:
    """Runs refreshes of *renewal*, each turn under the lease; keeps nothing between two of them."""

    __slots__ = ("_renewal",)

    def __init__(self, renewal: Renewal) -> None:
        self._renewal = renewal

    async def run(self, request: RenewalRequest, refresh: SharedRefresh) -> Result:
        """Return the token that replaces the stale one, or why there is none."""
        step: Step = Progress(credentials=self._renewal.credentials.fixed)
        while isinstance(step, Progress):
            step = await self._step(request, refresh, step)
        return step

    async def _step(
        self, request: RenewalRequest, refresh: SharedRefresh, progress: Progress
    ) -> Step:
        """
        Look into the store; if nothing there helps, take a turn, or wait until the next look.

        This is the step `end_load` of tests/campaigns/protocol; a turn is the steps after it.
        """
        renewal = self._renewal
        key, asked = await renewal.key(progress.credentials, seconds=renewal.seconds_left(request))
        if renewal.is_superseded(request):
            return self._end_wait(progress, "gave_up", NoResult.SUPERSEDED)
        if not isinstance(key, StoreKey):
            return renewal.failures.fail(key)
        progress = attrs.evolve(progress, credentials=asked)
        view = await renewal.look(key)
        found = renewal.find(request, view, asked)
        if found is not None:
            served = found is not NoResult.SUPERSEDED
            return self._end_wait(progress, "served" if served else "gave_up", found)
        if asked is None and renewal.has_refusal(view):
            return await self._ask(request, progress)
        if renewal.store.is_unreadable:
            # What it says of the lease came late, if at all: take it, or go on without.
            view = attrs.evolve(view, leased=False)
        turn = Turn(request=request, progress=progress, key=key, lease=None, view=view)
        if not self._may_try_lease(request, view, progress):
            was_busy = progress.waiting_since is not None
            return await self._wait(turn, is_busy=was_busy if view.leased is None else view.leased)
        return await self._try_lease(turn, refresh)

    async def _ask(self, request: RenewalRequest, progress: Progress) -> Step:
        """Ask for the credentials, as only they show whether a refusal in the store is about them."""
        renewal = self._renewal
        answer = await renewal.ask(seconds=renewal.seconds_left(request))
        if isinstance(answer, Credentials):
            return attrs.evolve(progress, credentials=answer)
        return (
            NoResult.SUPERSEDED if renewal.is_superseded(request) else renewal.failures.fail(answer)
        )

    def _may_try_lease(self, request: RenewalRequest, view: StoreView, progress: Progress) -> bool:
        renewal = self._renewal
        # A refresh that loses one lease after the other starts no turn after its end.
        if not renewal.seconds_left(request):
            return False
        if view.leased or renewal.clock.monotonic() < progress.resume_at:
            return False
        # A store that can't tell is asked with each third look only.
        return view.leased is False or progress.looks % 3 == 0

    async def _try_lease(self, turn: Turn, refresh: SharedRefresh) -> Step:
        renewal = self._renewal
        lease = await renewal.store.lease(turn.key)
        if lease is NoLease.BUSY and renewal.store.is_unreadable:
            lease = NoLease.DOWN
        if lease is NoLease.BUSY:
            return await self._wait(turn, is_busy=True)
        if lease is NoLease.DOWN and renewal.cache.can_wait_for_store():
            # As during a failover, after which one renewal will do for all.
            return self._leave_to_others(turn.progress)
        outcome: Literal["acquired", "gave_up"] = (
            "gave_up" if isinstance(lease, NoLease) else "acquired"
        )
        progress = self._end_wait(turn.progress, outcome, turn.progress)
        turn = attrs.evolve(turn, progress=attrs.evolve(progress, waiting_since=None))
        if isinstance(lease, Misconfigured):
            forgotten = renewal.is_superseded(turn.request)
            return NoResult.SUPERSEDED if forgotten else renewal.failures.fail(lease)
        if isinstance(lease, NoLease):
            return await renewal.run(turn)
        refresh.lease = lease
        try:
            return await renewal.run(attrs.evolve(turn, lease=lease))
        finally:
            refresh.lease = None
            await renewal.store.release(lease)

    async def _wait(self, turn: Turn, *, is_busy: bool) -> Step:
        """Pause before the next look, unless there is no time left, or no need to wait for others."""
        renewal, request, progress = self._renewal, turn.request, turn.progress
        now, left = renewal.clock.monotonic(), renewal.seconds_left(request)
        if renewal.is_superseded(request):
            return self._end_wait(progress, "gave_up", NoResult.SUPERSEDED)
        if is_busy and renewal.cache.is_ahead_of_need():
            return self._leave_to_others(progress)
        if not left or (progress.cause is not None and not renewal.is_needed(request)):
            return self._end_wait(progress, "gave_up", self._give_up(progress))
        if is_frozen(renewal.clock):
            failure = renewal.failures.fail(Misconfigured(reason=FROZEN))
            return self._end_wait(progress, "gave_up", failure)
        pause = renewal.policy.lease_wait(progress.looks, renewal.random())
        if progress.resume_at > now:
            pause = min(pause, progress.resume_at - now)
        await renewal.clock.sleep(min(pause, left))
        since = now if is_busy and progress.waiting_since is None else progress.waiting_since
        return attrs.evolve(progress, looks=progress.looks + 1, waiting_since=since)

    def _leave_to_others(self, progress: Progress) -> Result:
        self._renewal.cache.leave_to_others()
        return self._end_wait(progress, "gave_up", NoResult.LEFT_TO_OTHERS)

    def _give_up(self, progress: Progress) -> Result:
        renewal = self._renewal
        if progress.cause is not None:
            return renewal.failures.fail_to_connect(progress, progress.cause)
        if progress.waiting_since is None:
            return renewal.failures.fail(Unavailable(reason=NO_TIME))
        return renewal.failures.fail(LeaseNeverFree(renewal.policy.exchange_timeout))

    def _end_wait(
        self, progress: Progress, outcome: Literal["acquired", "served", "gave_up"], step: StepT
    ) -> StepT:
        """Report the wait for the lease, if there was one, and return *step*."""
        if progress.waiting_since is not None:
            elapsed = self._renewal.clock.monotonic() - progress.waiting_since
            self._renewal.event_log.emit(LeaseAwaited(elapsed=elapsed, outcome=outcome))
        return step
