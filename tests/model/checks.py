"""What must hold, told of one process: each check is a function with the sentence that it stands for."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING

from taxizer_async import AuthError, ConfigurationError
from taxizer_async._outcomes import Issued, Misconfigured, Refused, Unavailable
from tests.model.server import CANARY
from tests.model.store import LeaseState


if TYPE_CHECKING:
    from taxizer_async import AuthStatus
    from taxizer_async._outcomes import Outcome
    from taxizer_async._token.cached_token import CachedToken
    from tests.model.process import Asking, Process
    from tests.model.server import Grant
    from tests.model.world import Call


#: `RenewalPolicy.lease_wait`, the back-offs and the budget by default, but written down by hand.
LEASE_WAIT = 34.0
REJECTED_FOR = 60.0
BUDGET, WINDOW = 3, 30.0
REFUSED_INTERVAL = 30.0
_SLACK = 1e-3


class Watch:
    """Stands before a provider, as its auth sees it, and looks on."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        #: JWTs that it knows to be refused.
        self.refused: set[str] = set()
        self.refusals: list[float] = []
        self._sent: set[str] = set()
        self._failures = 0
        self._until = -math.inf
        self._rejected: dict[str, float] = {}
        self._adoptions = 0
        self.forgets = 0
        #: JWTs that were forgotten, by the last call before that was done and the saves before it began.
        self.forgotten: dict[str, tuple[int, int]] = {}
        self._forgets_when_asked = self.forgets_at_errand = 0
        #: What was received, and how often was forgotten and adopted before that.
        self._owed: tuple[str, int, int] | None = None

    # What the auth calls.

    async def acquire(self) -> CachedToken:
        return await self._process.provider.acquire()

    def accept(self, held: CachedToken) -> None:
        self._process.provider.accept(held)

    def status(self) -> AuthStatus:
        return self._process.provider.status()

    def refuse(self, held: CachedToken) -> bool:
        process = self._process
        before = process.held
        worth = process.provider.refuse(held)
        after = process.held
        if before is None or not before.same_token(held):
            self._a_late_401_costs_nothing(before, after)
            self.refused.add(held.token.jwt.reveal())
        elif after is not None and after.refused and not before.refused:
            self.refused.add(held.token.jwt.reveal())
            self.refusals.append(self._world.clock.monotonic())
            self._renewals_by_401_have_a_budget()
            self._world.uncover(process)
        return worth

    # What the exchange and the simulation call.

    def asking(self, asking: Asking) -> None:
        """Check what is about to be asked."""
        self._one_exchange_per_process()
        self._one_exchange_per_store(asking)
        self._who_asks_may(asking)
        self._no_fresh_token_is_renewed()
        self._back_off_is_kept()
        self._rejected_credentials_rest(asking)
        self._no_spent_refresh_token_is_sent(asking)
        self._forgets_when_asked = self.forgets

    def asked(self, asking: Asking, outcome: Outcome | None) -> None:
        """Note how it ended; None if its leader was cancelled."""
        forgotten = self.forgets != self._forgets_when_asked
        if isinstance(outcome, Issued):
            if self.forgets == self.forgets_at_errand:
                self._adoptions = self._process.provider.status().adoptions
                self._owed = outcome.token.jwt.reveal(), self.forgets, self._adoptions
            self._start_over()
        elif outcome is not None and asking.kind == "connect":
            self._note_failure(asking, outcome)
        elif isinstance(outcome, Misconfigured) or (
            isinstance(outcome, Unavailable) and outcome.untouched
        ):
            self._world.sent_refresh.discard(asking.secret)
            if not forgotten:
                self._note_failure(asking, outcome)

    def _note_failure(self, asking: Asking, outcome: Outcome) -> None:
        now = self._world.clock.monotonic()
        self._failures += 1
        wait = min(2.0 ** min(self._failures - 1, 5), 30.0)
        if isinstance(outcome, Refused):
            # The last pair is remembered.
            self._rejected = {asking.secret: now + REJECTED_FOR}
            wait = REJECTED_FOR if self._process.fixed else 1.0
        elif self._process.alive():
            wait = min(1.0, self._process.remaining())
        elif isinstance(outcome, Unavailable) and outcome.retry_after is not None:
            wait = max(wait, min(outcome.retry_after, 30.0))
        self._until = now + wait
        self._adoptions = self._process.provider.status().adoptions

    def _start_over(self) -> None:
        self._failures, self._until = 0, -math.inf
        self._rejected.clear()

    def sending(self, jwt: str, call: Call) -> None:
        """Check a request that is about to be sent."""
        grant = self._world.server.grants.get(jwt)
        if grant is None:
            self._fail("a request carries a token that was never issued")
            return
        self._no_bad_token_is_sent_while_a_good_one_is_known(grant)
        self._a_new_token_is_saved_before_it_is_used(grant)
        self._what_was_forgotten_is_not_used(jwt, call)
        self._no_dead_token_is_sent_without_a_try(grant, call)
        if call.sends > 3:
            self._fail("a request is sent three times at most")

    def failed(self, problem: Exception, *, covered: bool, misconfigured: bool) -> None:
        """Check what a caller was told."""
        wanted = (AuthError, ConfigurationError) if misconfigured else AuthError
        if not isinstance(problem, wanted):
            self._fail(f"a caller fails with an AuthError, not {type(problem).__name__}: {problem}")
        link: BaseException | None = problem
        while link is not None:
            if CANARY in f"{link!s} {link!r} {vars(link)}":
                self._fail("what is raised holds no secret")
            link = link.__cause__ or link.__context__
        if covered:
            self._fail(f"no failure reaches a caller while a token lives: {problem}")

    def _a_late_401_costs_nothing(
        self, before: CachedToken | None, after: CachedToken | None
    ) -> None:
        if before is not after:
            self._fail("a 401 for a token that was replaced changes nothing")

    def _renewals_by_401_have_a_budget(self) -> None:
        now = self._world.clock.monotonic()
        self.refusals = [moment for moment in self.refusals if now - moment < WINDOW]
        if len(self.refusals) > BUDGET:
            self._fail("401s cause three renewals in 30 s at most")

    def _one_exchange_per_process(self) -> None:
        if self._process.asking:
            self._fail("a process has one exchange under way at most")

    def _one_exchange_per_store(self, asking: Asking) -> None:
        if asking.lease is not LeaseState.HELD or self._process.view.robbed:
            return
        for other in self._world.asking():
            if other.lease is LeaseState.HELD and not other.process.view.robbed:
                self._fail("those that share a store have one exchange under way at most")

    def _who_asks_may(self, asking: Asking) -> None:
        if asking.lease is LeaseState.HELD:
            return
        if asking.kind == "refresh" and asking.secret in self._world.shelf.shared:
            self._fail("a shared refresh token is sent under the lease only")
        waited = self._world.clock.monotonic() - self._process.errand_since
        if asking.lease is not LeaseState.DOWN and waited < LEASE_WAIT - _SLACK:
            self._fail("who finds the lease taken waits before it logs in alone")

    def _no_fresh_token_is_renewed(self) -> None:
        held = self._process.held
        if held is None or held.refused or self._process.errand_jumped:
            return
        grant = self._world.server.grants[held.token.jwt.reveal()]
        least = REFUSED_INTERVAL if math.isinf(grant.believed) else grant.believed / 2
        if held.age(self._world.clock) < least - _SLACK:
            self._fail("a token in the first half of its life is not renewed")

    def _back_off_is_kept(self) -> None:
        if self._process.provider.status().adoptions != self._adoptions:
            self._start_over()
        if self._world.clock.monotonic() < self._until - _SLACK:
            self._fail("after a failure nothing is asked until the back-off is over")

    def _rejected_credentials_rest(self, asking: Asking) -> None:
        until = self._rejected.get(asking.secret, -math.inf)
        if self._world.clock.monotonic() < until - _SLACK:
            self._fail("credentials that were rejected are not sent again for 60 s")

    def _no_spent_refresh_token_is_sent(self, asking: Asking) -> None:
        if asking.kind != "refresh":
            return
        if asking.secret in self._world.sent_refresh:
            self._fail("a refresh token that was sent is spent")
        self._world.sent_refresh.add(asking.secret)

    def _no_bad_token_is_sent_while_a_good_one_is_known(self, grant: Grant) -> None:
        process = self._process
        alive = process.provider._cache.alive()
        if alive is None or alive.token.jwt.reveal() == grant.jwt:
            return
        if grant.jwt in self.refused or self._world.is_over(grant):
            self._fail("no dead or refused token is sent while a good one is known")

    def _a_new_token_is_saved_before_it_is_used(self, grant: Grant) -> None:
        if grant.with_lease and grant.jwt not in self._world.shelf.tried:
            self._fail("a new token is saved before it is used")

    def _no_dead_token_is_sent_without_a_try(self, grant: Grant, call: Call) -> None:
        if self._world.is_over(grant) and call.errands == self._process.errands:
            self._fail("no dead token is sent by who has not waited for a new one")

    def settled(self) -> None:
        """Check what has come of an answer, now that nothing is on its way to the store."""
        owed, self._owed = self._owed, None
        if owed is None or owed[1] != self.forgets:
            return
        if self._process.provider.status().adoptions != owed[2]:
            return  # another process was faster
        held = self._process.held
        is_held = held is not None and held.token.jwt.reveal() == owed[0]
        if not is_held and owed[0] not in self._world.shelf.tried:
            self._fail("what was received is kept, though its leader was cancelled")

    def _what_was_forgotten_is_not_used(self, jwt: str, call: Call) -> None:
        last_call, saves = self.forgotten.get(jwt, (call.number, 0))
        view = self._process.view
        if self._world.shelf.was_saved_since(jwt, saves, other_than=view):
            return
        if call.number > last_call:
            self._fail("what was forgotten is not used by a later request")

    def _fail(self, sentence: str) -> None:
        self._world.violations.append(f"{self._process}: {sentence}")
