"""The invariants of one process: each check is a method that reports one sentence when it fails."""

from __future__ import annotations

import math

from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from taxizer_async import AuthError, ConfigurationError, Credentials
from taxizer_async._core.exchange import Issued, Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._token.failures import Failure, LeaseNeverFree
from taxizer_async._token.places import Verdict
from taxizer_async._token.renewal_request import NoResult
from taxizer_async._token.shared_failures import pair_name
from tests.campaigns.model.evidence import REFUSED_INTERVAL, Evidence
from tests.campaigns.model.server import BASE_URL, CANARY, CLIENT_ID
from tests.campaigns.model.store import LeaseState


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from taxizer_async import AuthStatus
    from taxizer_async._core.events import ExchangeFailed
    from taxizer_async._core.exchange import Outcome
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.renewal_request import RenewalRequest, Result
    from taxizer_async._token.single_flight import SharedRefresh
    from tests.campaigns.model.process import Asking, Process, Refresh
    from tests.campaigns.model.server import Grant
    from tests.campaigns.model.world import Call


T = TypeVar("T")

#: The defaults of `RenewalPolicy`, but written down by hand.
WHOLE_REFRESH = 30.0
ATTEMPT, SHORTEST_ATTEMPT = 10.0, 0.1
REJECTED_FOR = 60.0
LONGEST_BACKOFF = 5.0
PASSED_OVER, DISTRUSTED = 60.0, 600.0
FIRST_POLL, LONGEST_POLL = 0.01, 0.25
#: Within this time all have looked whether a lease is free.
YIELDED = LONGEST_POLL * 1.25
WAIT_FOR_REPLACEMENT = 10.0
_SLACK = 1e-3


@attrs.define(eq=False, kw_only=True)
class Wait:
    """A caller that waits for a token."""

    #: Until when it may wait while the token that it has lives, refused or not.
    until: float
    #: Whether it has had such a token for as long as it has waited.
    covered: bool
    #: How many refreshes had come to a result when it began, and when that was.
    results: int
    began: float


class Watch:
    """Stands between an auth and its provider, passes calls on and checks them."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        #: JWTs that this process knows to be refused.
        self.refused: set[str] = set()
        self.evidence = Evidence(
            self._world.clock, lambda: process.provider.status().adoptions, self._fail
        )
        #: What was reported about the refusal of the cached token.
        self._told: tuple[object, list[bool]] = (None, [])
        self._sent: set[str] = set()
        self._failures = 0
        self._until = -math.inf
        self._rejected: dict[str, float] = {}
        #: The last exchange that failed, until that is recorded.
        self._outcome: tuple[Asking, Outcome] | None = None
        #: Whether there was a living token when the last failure was recorded, and what it was.
        self._was_ahead = False
        self._last_reason = ""
        #: Whether that was a mistake of the user's; callers may hear of it a little later.
        self.is_misconfigured = False
        self._adoptions = 0
        #: Until when AppRefreshToken must not be asked.
        self._passed_over_until = self._distrusted_at = -math.inf
        #: JWTs that came from AppRefreshToken, and the number of adoptions before each.
        self._renewed: dict[str, int] = {}
        self._waits: list[Wait] = []
        self.forgets = 0
        #: How many calls of `forget` are under way; failures saved before the last that cleared the store.
        self.clearing = self.cleared_failures = 0
        #: Refused JWTs that requests wait to have replaced.
        self.replacing: list[str] = []
        #: When a refused token last turned out to be good.
        self.turned_good_at = -math.inf
        #: Forgotten JWTs: the last call before `forget` returned, and the saves before it began.
        self.forgotten: dict[str, tuple[int, int]] = {}
        #: The last JWT received, and the numbers of forgets and adoptions before it.
        self._owed: tuple[str, int, int] | None = None

    # What the auth calls.

    async def acquire(self) -> CachedToken:
        longest = self._longest_wait()
        wait: Wait | None = None

        def begin_waiting() -> None:
            nonlocal wait
            if wait is not None:
                return
            if longest is None:
                self._fail("no caller waits while its token is good, or a failure is remembered")
            wait = self._wait_begins(longest or 0.0)

        try:
            return await _telling(self._process.provider.acquire(), begin_waiting)
        finally:
            if wait is not None:
                self._waits.remove(wait)

    def _longest_wait(self) -> float | None:
        """Return how long a caller with a living token may wait; None if it may not wait."""
        process, cached = self._process, self._process.cached
        if cached is None or not process.has_token():
            return math.inf
        if not process.is_busy and self._backs_off():
            return None
        if cached.refused:
            has_failed = process.provider.status().last_error is not None
            return 0.0 if has_failed else WAIT_FOR_REPLACEMENT
        grant = self._world.server.grants[cached.token.jwt.reveal()]
        pressing = grant.believed - min(30.0, grant.believed / 10)
        if math.isinf(grant.believed) or cached.age(self._world.clock) < pressing - _SLACK:
            return None
        if process.provider.status().last_error is not None:
            return 0.0
        usual = 3 * process.provider.cache.state.last_elapsed or ATTEMPT
        return max(process.remaining() / 2, min(usual, ATTEMPT))

    def _wait_begins(self, longest: float) -> Wait:
        process, now = self._process, self._world.clock.monotonic()
        shared = process.shared_refresh
        if shared is None:
            self._fail("a caller that waits for a token waits for a refresh")
        wait = Wait(
            until=now if shared is None else max(now, shared.began + longest),
            covered=process.has_token(),
            results=process.results,
            began=now,
        )
        self._waits.append(wait)
        return wait

    def grant(self, seconds: float) -> None:
        """Give its callers *seconds* more."""
        for wait in self._waits:
            wait.until += seconds

    def uncover(self) -> None:
        """Note that its callers have no living token."""
        for wait in self._waits:
            wait.covered = False

    async def replacement_for(self, cached: CachedToken) -> CachedToken | Failure | None:
        wait = Wait(
            until=math.inf,
            covered=False,
            results=self._process.results,
            began=self._world.clock.monotonic(),
        )
        self._waits.append(wait)
        self.replacing.append(cached.token.jwt.reveal())
        try:
            found = await self._process.provider.replacement_for(cached)
        finally:
            self._waits.remove(wait)
            self.replacing.remove(cached.token.jwt.reveal())
        self._what_is_sent_instead_is_another(cached, found)
        return found

    def note_acceptance(self, cached: CachedToken, place: str, *, sent_at: float) -> None:
        process = self._process
        before = process.cached
        process.provider.note_acceptance(cached, place, sent_at=sent_at)
        if before is not None and before.refused and process.alive():
            self.refused.discard(cached.token.jwt.reveal())
            now = self.turned_good_at = self._world.clock.monotonic()
            for wait in self._waits:
                wait.until = now + (self._longest_wait() or 0.0)

    def status(self) -> AuthStatus:
        return self._process.provider.status()

    def note_refusal(self, cached: CachedToken, place: str, *, sent_at: float) -> Verdict:
        process = self._process
        before = process.cached
        verdict = process.provider.note_refusal(cached, place, sent_at=sent_at)
        process.note_refusal(cached)
        after = process.cached
        self._world.note(f"{process}   {place}: {verdict.name}")
        has_ended = before is not None and before.remaining(self._world.clock) <= 0
        if before is None or not before.same_token(cached) or has_ended:
            if verdict is not Verdict.REPLACED:
                self._fail("a 401 for a token that was replaced or has ended is no evidence")
            self._a_late_401_costs_nothing(before, after)
            self.refused.add(cached.token.jwt.reveal())
            return verdict
        self._a_renewed_token_that_never_worked_is_distrusted(before, verdict)
        self.evidence.refuse(
            place, before, verdict, sent_at=sent_at, renewed=self._was_renewed(before)
        )
        if after is not None and after.refused and not before.refused:
            self.refused.add(cached.token.jwt.reveal())
            self._callers_wait_for_a_replacement()
        return verdict

    def _callers_wait_for_a_replacement(self) -> None:
        """When a token is refused, give its waiting callers the time that a replacement may take."""
        now = self._world.clock.monotonic()
        for wait in self._waits:
            wait.until = max(wait.until, now) + WAIT_FOR_REPLACEMENT

    # What the exchange and the simulation call.

    def forgetting(self) -> None:
        """Note that all is forgotten: the token, and failures."""
        self.forgets += 1
        self._start_over()
        self.evidence.forget()

    def refreshing(self, request: RenewalRequest, shared: SharedRefresh) -> None:
        """Check a refresh that holds the lock now."""
        if self._process.turn is not None:
            self._fail("a process has one refresh under way at most")
        if abs(request.deadline - shared.began - WHOLE_REFRESH) > _SLACK:
            self._fail("a refresh takes 30 s as a whole, from when it was called for")

    def refreshed(self, refresh: Refresh, result: Result | None) -> None:
        """Check the result of a refresh; None if it was cut short."""
        process, now = self._process, self._world.clock.monotonic()
        if result is None:
            self._fail("a refresh goes on when callers give up")
        self._what_was_forgotten_is_not_put_back(refresh)
        self._no_failure_is_put_back(refresh)
        if result is NoResult.LEFT_TO_OTHERS and not process.has_time():
            self._fail("a renewal is left to others only while callers do without")
        if not isinstance(result, Failure):
            return
        if result.rejected is not None:
            # One pair is remembered, the last that this client or another was refused with.
            secret = result.rejected.client_secret.reveal()
            self._rejected = {secret: self._rejected.get(secret, -math.inf)}
        cause = result.cause
        if isinstance(cause, LeaseNeverFree) and now < refresh.began + WHOLE_REFRESH - _SLACK:
            self._fail("a lease is waited for until 30 s are over")
        is_alone = isinstance(cause, (Unavailable, Malformed)) and refresh.kinds == ["refresh"]
        has_time = now < refresh.began + WHOLE_REFRESH - _SLACK
        if is_alone and has_time and refresh.owes_login and not process.alive():
            self._fail("if callers have no token, a login follows a renewal that failed")
        state = process.provider.cache.state
        is_recorded = state.client_id is not None and state.failure is result
        if self.forgets != refresh.forgets and is_recorded:
            self._fail("a forgotten refresh leaves no failure behind")

    def _no_failure_is_put_back(self, refresh: Refresh) -> None:
        view, shelf = self._process.view, self._world.shelf
        is_well = not view.down and self._process.provider._store.failing is None
        is_ours = view.failures > self.cleared_failures and shelf.failure_saver is view
        is_forgotten = self.forgets != refresh.forgets and not self.clearing
        if is_forgotten and is_well and is_ours and shelf.failure():
            self._fail("a forgotten refresh leaves no failure in the store")

    def _what_was_forgotten_is_not_put_back(self, refresh: Refresh) -> None:
        view, shelf = self._process.view, self._world.shelf
        jwt = shelf.stored_jwt()
        if jwt not in self.forgotten or self.forgets == refresh.forgets:
            return
        is_well = not view.down and self._process.provider._store.failing is None
        _, saves = self.forgotten[jwt]
        if (
            is_well
            and shelf.last_saves.get((jwt, view), 0) > saves
            and shelf.last_saver(jwt) is view
        ):
            self._fail("a forgotten token is not put back into the store")

    def polling(self, seconds: float) -> None:
        """Check the pause before the next look at a store while the lease is taken, or left to others."""
        refresh, now = self._process.turn, self._world.clock.monotonic()
        assert refresh is not None
        mean = min(LONGEST_POLL, FIRST_POLL * 1.5**refresh.polls)
        refresh.polls += 1
        # The last pause ends with the time of the refresh, or with that for which it leaves the lease to others.
        is_last = now + seconds >= refresh.began + WHOLE_REFRESH - _SLACK
        least = 0.0 if is_last or refresh.yielded_at is not None else mean * 0.75
        if not least - _SLACK <= seconds <= mean * 1.25 + _SLACK:
            self._fail(f"the store is polled at growing intervals, not {seconds}")
        if refresh.yielded_at is None and self._process.has_time():
            self._fail("ahead of need a lease that is taken is not waited for")
        if self._process.view.state is LeaseState.HELD:
            self._fail("a process that waits does not keep the lease")

    def recording(self, event: ExchangeFailed) -> None:
        """Check a failure as it is recorded."""
        alive = self._process.alive()
        if event.ahead_of_need != alive:
            self._fail("a failure says whether it was ahead of need")
        # A refusal answers every caller.
        self._was_ahead = alive and event.error != "CredentialsRejectedError"
        self._last_reason = event.reason
        self.is_misconfigured = event.error == "ConfigurationError"
        if self.is_misconfigured:
            # It takes the place of the last failure, and no endpoint has said how long it lasts.
            self._until = -math.inf
        if event.kind is not None and self._outcome is not None:
            self._note_failure(*self._outcome)
        self._outcome = None

    def telling_of_refusal(self, *, renewing: bool) -> None:
        """Check what is reported about a refused token."""
        cached = self._process.cached
        assert cached is not None
        which = cached.token.jwt.reveal(), self.forgets, self._process.provider.status().adoptions
        if which != self._told[0]:
            self._told = which, []
        self._told[1].append(renewing)
        if self._told[1] not in ([False], [True], [False, True]):
            self._fail("a refusal is reported once per token, and once more if it is renewed then")

    def wants_more(self, asking: Asking, outcome: Unavailable) -> bool:
        """Check whether another request is wanted after one that failed."""
        refresh = self._process.turn
        wanted = asking.budget.wants_more(outcome)
        forgotten = refresh is None or refresh.forgets != self.forgets
        keeps = asking.lease is LeaseState.DOWN or outcome.status_code is not None
        if wanted != (keeps and not forgotten and not self._process.alive()):
            self._fail(
                "more is tried exactly if callers have no token, nothing was forgotten, and others "
                "would have no better luck"
            )
        return wanted

    def asking(self, asking: Asking) -> None:
        """Check an exchange that is about to begin."""
        self._a_lease_that_was_given_back_is_left_to_others()
        self._a_refresh_asks_each_once(asking)
        self._it_is_over_with_its_refresh(asking)
        self._app_refresh_token_is_passed_over(asking)
        self._one_exchange_per_process()
        self._one_exchange_per_store(asking)
        self._asking_is_allowed(asking)
        self._no_fresh_token_is_renewed()
        self._back_off_is_kept(asking)
        self._rejected_credentials_rest(asking)
        self._no_spent_refresh_token_is_sent(asking)
        self._what_others_were_answered_spares_the_try(asking)

    def asked(self, asking: Asking, outcome: Outcome | None) -> None:
        """Note how an exchange ended; None if it was cut short."""
        refresh = self._process.turn
        if outcome is None or refresh is None:
            self._fail("an exchange goes on when callers give up")
            return
        if self.forgets != refresh.forgets:
            return
        if isinstance(outcome, Issued):
            jwt = outcome.token.jwt.reveal()
            self._adoptions = self._process.provider.status().adoptions
            self._owed = jwt, self.forgets, self._adoptions
            if asking.kind == "refresh":
                self._renewed[jwt] = self._adoptions
            self._start_over()
            return
        if asking.kind == "refresh":
            self._note_failed_refresh(asking, refresh, outcome)
        self._outcome = asking, outcome
        now = self._world.clock.monotonic()
        has_time = now + YIELDED + SHORTEST_ATTEMPT <= refresh.began + WHOLE_REFRESH
        if has_time and self._stays_here(asking, outcome):
            refresh.kinds.clear()
            refresh.yielded_at = now

    def _stays_here(self, asking: Asking, outcome: Outcome) -> bool:
        """Return whether others may have better luck, and so get the lease."""
        if asking.lease is not LeaseState.HELD or self._process.alive():
            return False
        is_answer = isinstance(outcome, Unavailable) and outcome.status_code is not None
        return isinstance(outcome, (Unavailable, Malformed)) and not is_answer

    def _note_failed_refresh(self, asking: Asking, refresh: Refresh, outcome: Outcome) -> None:
        not_processed = isinstance(outcome, Unavailable) and outcome.not_processed
        if isinstance(outcome, Misconfigured) or not_processed:
            self._world.sent_refresh.discard(asking.secret)
        if isinstance(outcome, (Unavailable, Malformed)):
            self._passed_over_until = max(
                self._passed_over_until, self._world.clock.monotonic() + PASSED_OVER
            )
        alive = self._process.alive()
        refresh.owes_login = not alive and not isinstance(outcome, Misconfigured)

    def _note_failure(self, asking: Asking, outcome: Outcome) -> None:
        now = self._world.clock.monotonic()
        self._failures += 1
        wait = min(2.0 ** min(self._failures - 1, 5), LONGEST_BACKOFF)
        if isinstance(outcome, Unavailable) and outcome.retry_after is not None:
            wait = max(wait, min(outcome.retry_after, 30.0))
        if isinstance(outcome, Refused):
            # The last pair is remembered.
            self._rejected = {asking.secret: now + REJECTED_FOR}
            wait = REJECTED_FOR if self._process.fixed else 1.0
        elif self._process.alive():
            wait = min(wait, max(1.0, self._process.remaining() / 2))
        self._until = now + wait
        self._adoptions = self._process.provider.status().adoptions

    def _start_over(self) -> None:
        self._failures, self._until, self._was_ahead = 0, -math.inf, False
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
        self._no_refused_token_is_sent_without_a_try(jwt, call)
        if call.sends > 3:
            self._fail("a request is sent three times at most")

    def failed(self, problem: Exception, *, covered: bool, misconfigured: bool) -> None:
        """Check the error that a caller got in place of a token."""
        self.told(problem, misconfigured=misconfigured)
        if covered:
            self._fail(f"no failure reaches a caller while a token lives: {problem}")
        if self._was_ahead and self._last_reason in str(problem):
            self._fail(
                f"one attempt ahead of need does not fail a caller without a token: {problem}"
            )

    def told(self, problem: Exception, *, misconfigured: bool = False) -> None:
        """Check what is raised."""
        wanted = (AuthError, ConfigurationError) if misconfigured else AuthError
        if not isinstance(problem, wanted):
            self._fail(f"a caller fails with an AuthError, not {type(problem).__name__}: {problem}")
        link: BaseException | None = problem
        while link is not None:
            if CANARY in f"{link!s} {link!r} {vars(link)}":
                self._fail("what is raised holds no secret")
            link = link.__cause__ or link.__context__

    def _was_renewed(self, cached: CachedToken) -> bool:
        """Return whether this process got *cached* from AppRefreshToken and has kept it since."""
        adoptions = self._process.provider.status().adoptions
        return self._renewed.get(cached.token.jwt.reveal()) == adoptions

    def _a_renewed_token_that_never_worked_is_distrusted(
        self, before: CachedToken, verdict: Verdict
    ) -> None:
        jwt, now = before.token.jwt.reveal(), self._world.clock.monotonic()
        if before.refused or verdict is not Verdict.RENEW:
            return
        if self._was_renewed(before) and not self.evidence.has_accepted(jwt):
            self._passed_over_until = max(self._passed_over_until, now + DISTRUSTED)
            self._distrusted_at = now

    def _what_is_sent_instead_is_another(
        self, refused: CachedToken, found: CachedToken | Failure | None
    ) -> None:
        if found is None:
            if not refused.same_token(self._process.provider.cache.alive()):
                self._fail("a 401 is handed back without a replacement only if the token is good")
        elif not isinstance(found, Failure) and found.same_token(refused):
            self._fail("a refused token is not sent to the same place again")

    def _a_late_401_costs_nothing(
        self, before: CachedToken | None, after: CachedToken | None
    ) -> None:
        if before is not after:
            self._fail("a 401 for a token that was replaced changes nothing")

    def _a_refresh_asks_each_once(self, asking: Asking) -> None:
        refresh = self._process.turn
        if refresh is None:
            self._fail("only a refresh asks")
            return
        # A token that another process saved after the lease was lost may bring its own refresh token.
        is_again = asking.kind in refresh.kinds and refresh.breaks == self._world.shelf.breaks
        if is_again or "connect" in refresh.kinds:
            self._fail("a refresh asks AppRefreshToken once, then Connect once, at most")
        refresh.kinds.append(asking.kind)
        if refresh.forgets != self.forgets:
            self._fail("a refresh asks nothing after its token was forgotten")

    def _what_others_were_answered_spares_the_try(self, asking: Asking) -> None:
        process, failure = self._process, self._world.shelf.failure()
        is_blind = process.view.down or process.view.robbed or process.provider._store.failing
        if failure is None or is_blind or asking.lease is not LeaseState.HELD:
            return
        if failure.pair is not None:
            pair = Credentials(CLIENT_ID, asking.secret)
            is_enough = asking.kind == "connect" and failure.pair == pair_name(pair, BASE_URL)
        else:
            is_enough = process.alive() or not failure.ahead_of_need
        if is_enough and failure.remaining > _SLACK:
            self._fail("what another client was answered spares the try")

    def _a_lease_that_was_given_back_is_left_to_others(self) -> None:
        refresh = self._process.turn
        if refresh is None or refresh.yielded_at is None:
            return
        if self._world.clock.monotonic() < refresh.yielded_at + YIELDED - _SLACK:
            self._fail("a lease that was given back is left to others for a while")
        refresh.yielded_at = None

    def _it_is_over_with_its_refresh(self, asking: Asking) -> None:
        refresh = self._process.turn
        if refresh and asking.budget.deadline > refresh.began + WHOLE_REFRESH + _SLACK:
            self._fail("an exchange ends with the 30 s of its refresh")

    def _app_refresh_token_is_passed_over(self, asking: Asking) -> None:
        is_early = self._world.clock.monotonic() < self._passed_over_until - _SLACK
        refresh = self._process.turn
        # A refresh that was about to ask it is not held back.
        is_late = refresh is not None and self._distrusted_at >= refresh.began
        if asking.kind == "refresh" and is_early and not is_late:
            self._fail("AppRefreshToken is passed over for a while after a failure")

    def _one_exchange_per_process(self) -> None:
        if self._process.asking:
            self._fail("a process has one exchange under way at most")

    def _one_exchange_per_store(self, asking: Asking) -> None:
        if asking.lease is not LeaseState.HELD or self._process.view.robbed:
            return
        for other in self._world.asking():
            if other.lease is LeaseState.HELD and not other.process.view.robbed:
                self._fail("those that share a store have one exchange under way at most")

    def _asking_is_allowed(self, asking: Asking) -> None:
        if asking.lease is LeaseState.HELD:
            return
        if asking.kind == "refresh" and asking.secret in self._world.shelf.shared:
            self._fail("a shared refresh token is sent under the lease only")
        if asking.lease is not LeaseState.DOWN:
            self._fail("no process asks without the lease while the store answers")

    def _no_fresh_token_is_renewed(self) -> None:
        cached, refresh = self._process.cached, self._process.turn
        if cached is None or cached.refused or (refresh and refresh.replaces_refused):
            return
        grant = self._world.server.grants[cached.token.jwt.reveal()]
        least = REFUSED_INTERVAL if math.isinf(grant.believed) else grant.believed / 2
        if cached.age(self._world.clock) < least - _SLACK:
            self._fail("a token in the first half of its life is not renewed")

    def _back_off_is_kept(self, asking: Asking) -> None:
        if not self._backs_off():
            return
        refresh = self._process.turn
        is_needed = not self._process.alive() or (refresh and refresh.replaces_refused)
        if self._was_ahead and is_needed:
            return  # one attempt ahead of need does not bind a caller without a token
        if asking.kind == "connect" and refresh and refresh.kinds[:-1]:
            return  # it follows the renewal that failed
        self._fail("after a failure nothing is asked until the back-off is over")

    def _backs_off(self) -> bool:
        """Return whether the last failure still delays the next exchange."""
        if self._process.provider.status().adoptions != self._adoptions:
            self._start_over()
        return self._world.clock.monotonic() < self._until - _SLACK

    def _rejected_credentials_rest(self, asking: Asking) -> None:
        until = self._rejected.get(asking.secret, -math.inf)
        if self._world.clock.monotonic() < until - _SLACK:
            self._fail("rejected credentials are not sent again for 60 s")

    def _no_spent_refresh_token_is_sent(self, asking: Asking) -> None:
        if asking.kind != "refresh":
            return
        if asking.secret in self._world.sent_refresh:
            self._fail("a refresh token that was sent is spent")
        self._world.sent_refresh.add(asking.secret)

    def _no_bad_token_is_sent_while_a_good_one_is_known(self, grant: Grant) -> None:
        process = self._process
        alive = process.provider.cache.alive()
        if alive is None or alive.token.jwt.reveal() == grant.jwt:
            return
        if grant.jwt in self.refused or self._world.is_over(grant):
            self._fail("no dead or refused token is sent while a good one is known")

    def _a_new_token_is_saved_before_it_is_used(self, grant: Grant) -> None:
        if grant.with_lease and grant.jwt not in self._world.shelf.tried:
            self._fail("a new token is saved before it is used")

    def _no_dead_token_is_sent_without_a_try(self, grant: Grant, call: Call) -> None:
        if self._world.is_over(grant) and call.refreshes == self._process.refreshes_ended:
            self._fail("a caller waits for a new token before it sends a dead one")

    def _no_refused_token_is_sent_without_a_try(self, jwt: str, call: Call) -> None:
        process = self._process
        cached, shared = process.cached, process.shared_refresh
        if cached is None or not cached.refused or cached.token.jwt.reveal() != jwt:
            return
        if process.provider.status().last_error is not None:
            return
        if call.refreshes != process.refreshes_ended:
            return  # it waited for the refresh that brought this very token
        now = self._world.clock.monotonic()
        if shared is None or now < shared.began + WAIT_FOR_REPLACEMENT - _SLACK:
            self._fail("the replacement of a refused token is waited for, but not for long")

    def settled(self) -> None:
        """Check how long callers wait, how long a refresh takes, and that what was received is kept."""
        for wait in self._waits:
            self._nobody_waits_too_long(wait)
        if self._world.shelf.gates:
            return  # something is on its way to the store
        self._a_refresh_is_over_in_time()
        owed, self._owed = self._owed, None
        if owed is None or owed[1] != self.forgets:
            return
        if self._process.provider.status().adoptions != owed[2]:
            return  # another process was faster
        cached = self._process.cached
        is_held = cached is not None and cached.token.jwt.reveal() == owed[0]
        if not is_held and owed[0] not in self._world.shelf.tried:
            self._fail("a received token is kept when callers give up")

    def _nobody_waits_too_long(self, wait: Wait) -> None:
        process = self._process
        if wait.covered and self._world.clock.monotonic() > wait.until + _SLACK:
            self._fail("a caller with a living token, refused or not, goes on with it in time")
        if process.results - wait.results > 1:
            self._fail("a caller waits for two refreshes at most")

    def _a_refresh_is_over_in_time(self) -> None:
        shared = self._process.shared_refresh
        begins = [refresh.began for refresh in (shared, self._process.turn) if refresh]
        # The last pause between two looks at the store may end later.
        latest = min(begins, default=math.inf) + WHOLE_REFRESH + LONGEST_POLL * 3 / 2
        if self._world.clock.monotonic() > latest + _SLACK:
            self._fail("a refresh is over after 30 s")

    def _what_was_forgotten_is_not_used(self, jwt: str, call: Call) -> None:
        last_call, saves = self.forgotten.get(jwt, (call.number, 0))
        view = self._process.view
        if self._world.shelf.was_saved_since(jwt, saves, other_than=view):
            return
        if call.number > last_call:
            self._fail("a forgotten token is not used by a later request")

    def _fail(self, sentence: str) -> None:
        self._world.violations.append(f"{self._process}: {sentence}")


@coroutine
def _telling(steps: Coroutine[Any, Any, T], wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """Run *steps*, and call *wait* whenever they wait for something."""
    sent: Any = None
    problem: BaseException | None = None
    while True:
        try:
            asked = steps.send(sent) if problem is None else steps.throw(problem)
        except StopIteration as told:
            value: T = told.value
            return value
        wait()
        problem = None
        try:
            sent = yield asked
        except BaseException as thrown:  # noqa: BLE001 - it is handed on
            problem = thrown
