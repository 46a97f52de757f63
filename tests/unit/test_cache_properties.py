from __future__ import annotations

import threading

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taxizer_async import Credentials, RenewalPolicy, Secret, Token
from taxizer_async._core.exchange import Refused, Unavailable
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cache_state import CacheState
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.places import Verdict
from taxizer_async.stores import TokenRecord
from taxizer_async.testing._manual_clock import ManualClock


LIFETIMES = st.sampled_from([0.0, 1.0, 60.0, 3600.0])


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of changes, at any pace, on any clock."""

    @initialize()
    def begin(self) -> None:
        self.policy = RenewalPolicy()
        self.clock = ManualClock()
        self.cache = TokenCache(
            policy=self.policy, clock=self.clock, random=lambda: 0.5, client_id="app"
        )
        self.known: list[CachedToken] = []
        self.before: CacheState = self.cache.state

    def _token(self) -> Token:
        number = len(self.known)
        return Token(jwt=Secret(f"jwt-{number}"), refresh_token=Secret(f"refresh-{number}"))

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 29.0, 30.0, 600.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400.0, -1.0, 1.0, 7200.0]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(lifetime=LIFETIMES, answers_refusal=st.booleans(), behind=st.integers(0, 1))
    def issue(self, *, lifetime: float, answers_refusal: bool, behind: int) -> None:
        cached = CachedToken(
            token=self._token(),
            version=f"v{len(self.known)}",
            lifetime=lifetime,
            schedule=self.policy.schedule(lifetime, 0.5),
            requested_at=self.clock.monotonic(),
            refresh_lifetime=None,
            answers_refusal=answers_refusal,
        )
        self.known.append(cached)
        generation = self.cache.state.generation - behind
        done = self.cache.set_issued(cached, login=True, elapsed=0.1, generation=generation)
        assert done is (behind == 0)
        assert (self.cache.state.cached is cached) is done

    @rule(lifetime=LIFETIMES, age=st.sampled_from([0.0, 50.0, 3590.0]), behind=st.integers(0, 1))
    def adopt(self, lifetime: float, age: float, behind: int) -> None:
        record = TokenRecord(
            token=self._token(),
            version=f"v{len(self.known)}",
            lifetime=lifetime,
            refresh_lifetime=None,
            age=age,
            refresh_spent=False,
        )
        self.known.append(self.cache.read(record))
        generation = self.cache.state.generation - behind
        cached = self.cache.adopt(record, self.cache.state.cached, generation=generation)
        if cached is not None:
            assert behind == 0
            assert cached.freshness(self.clock) in (Freshness.FRESH, Freshness.RENEW_AHEAD)
            assert self.cache.state.cached is cached

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        cached = data.draw(st.sampled_from(self.known))
        before = self.cache.state
        verdict, _ = self.cache.note_refusal(cached)
        if verdict is Verdict.RENEW:
            assert self.cache.alive() is None
            assert self.cache.note_refusal(cached) == (Verdict.RENEW, False)
        elif verdict is Verdict.REPLACED:
            assert self.cache.state is before
        else:
            assert self.cache.alive() is not None

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        cached = data.draw(st.sampled_from(self.known))
        self.cache.note_acceptance(cached, "", sent_at=self.clock.monotonic())

    @precondition(lambda self: self.known)
    @rule(data=st.data(), spent=st.booleans())
    def mark(self, *, data: st.DataObject, spent: bool) -> None:
        self.cache.mark_spent(
            data.draw(st.sampled_from(self.known)).version, spent=spent, shared=False
        )

    @rule(retry_after=st.none() | st.floats(0, 1e9))
    def outage(self, retry_after: float | None) -> None:
        cause = Unavailable(reason="x", retry_after=retry_after)
        failure = self.cache.record_failure(cause, endpoint="/c", rejected=None, recheck=False)
        assert 0 < failure.until - self.clock.monotonic() <= 30.0
        assert self.cache.active_failure() is failure

    @rule(recheck=st.booleans())
    def rejection(self, *, recheck: bool) -> None:
        pair = Credentials("app", "s3cret")
        failure = self.cache.record_failure(
            Refused(status_code=400), endpoint="/c", rejected=pair, recheck=recheck
        )
        assert failure.until <= failure.rejected_until
        assert self.cache.rejection_of(pair) is failure

    @rule()
    def forget(self) -> None:
        self.cache.forget()
        assert self.cache.state.cached is None

    @invariant()
    def readers_agree(self) -> None:
        cached, stage = self.cache.state.cached, self.cache.freshness()
        fresh, alive = self.cache.fresh(), self.cache.alive()
        assert (fresh is not None) is (stage is Freshness.FRESH)
        assert (alive is not None) is (stage is not Freshness.EXPIRED)
        assert fresh in (None, cached)
        assert alive in (None, cached)
        assert self.cache.replacement_for(cached) is None

    @invariant()
    def the_budget_holds(self) -> None:
        renewals = self.cache.state.renewals_of_401s
        moments = [each.at for each in renewals]
        assert moments == sorted(moments)
        assert len(renewals) <= self.policy.unauthorized_budget

    @invariant()
    def counters_only_grow(self) -> None:
        before, now = self.before, self.cache.state
        assert before.generation <= now.generation
        assert before.logins <= now.logins
        assert before.adoptions <= now.adoptions
        assert (now.failure is None) is (now.failures == 0)
        self.before = now


TestLedgerMachine = LedgerMachine.TestCase


def test_threads_lose_no_change() -> None:
    """Changes made by eight threads at once are all there in the end."""
    cache = TokenCache(
        policy=RenewalPolicy(), clock=ManualClock(), random=lambda: 0.5, client_id=None
    )
    start = threading.Barrier(8)

    def forget_often() -> None:
        start.wait(10)
        for _ in range(500):
            cache.forget()

    threads = [threading.Thread(target=forget_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cache.state.generation == 4000
