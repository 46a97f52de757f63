from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import RenewalPolicy, Secret, Token
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cache_state import RenewalOf401
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.places import Verdict
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.tokens import NOW, issue, make_cached


#: Places: two that accept what is good, and one that refuses all.
WELL, OTHER, SICK = "GET well", "GET other", "GET sick"


class Answers:
    """Answers of places to requests with the token in use, one each 0.1 s; *took* says how old each is."""

    def __init__(self, cache: TokenCache, clock: ManualClock) -> None:
        self.cache = cache
        self.clock = clock

    def token(self, name: str, **changes: Any) -> CachedToken:
        return issue(self.cache, make_cached(name, requested_at=self.clock.monotonic(), **changes))

    @property
    def cached(self) -> CachedToken:
        assert self.cache.state.cached is not None
        return self.cache.state.cached

    def refuse(self, place: str = SICK, *, took: float = 0.05) -> Verdict:
        self.clock.advance(0.1)
        return self.cache.note_refusal(self.cached, place, sent_at=self.clock.monotonic() - took)[0]

    def accept(self, place: str = WELL, *, took: float = 0.05) -> bool:
        self.clock.advance(0.1)
        return self.cache.note_acceptance(self.cached, place, sent_at=self.clock.monotonic() - took)


@pytest.fixture(name="answers")
def _answers(cache: TokenCache, clock: ManualClock) -> Answers:
    answers = Answers(cache, clock)
    answers.token("1")
    answers.accept(WELL)
    return answers


def refuse(cache: TokenCache, cached: CachedToken) -> Verdict:
    return cache.note_refusal(cached)[0]


@pytest.mark.report(18)
def test_a_second_401_is_free(cache: TokenCache, clock: ManualClock) -> None:
    """Twenty 401s for the token in use take it out of use, and cost one renewal (report 18)."""
    cached = issue(cache, make_cached())
    assert cache.note_refusal(cached) == (Verdict.RENEW, True)
    before = cache.state.renewals_of_401s

    assert [cache.note_refusal(cached) for _ in range(20)] == [(Verdict.RENEW, False)] * 20
    assert cache.state.cached is not None
    assert cache.state.cached.refused
    assert cache.alive() is None
    assert cache.state.renewals_of_401s == before
    assert before == (RenewalOf401(at=clock.monotonic(), place="", version=cached.version),)


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(lambda cache, _: issue(cache, make_cached("2")), id="replaced"),
        pytest.param(lambda cache, _: cache.forget(), id="forgotten"),
        pytest.param(lambda _, clock: clock.advance(3600.0), id="over"),
    ],
)
def test_a_401_for_a_token_that_ended_is_free(
    cache: TokenCache, clock: ManualClock, ended: Callable[[TokenCache, ManualClock], object]
) -> None:
    """A 401 for a token that was replaced, was forgotten or is over says nothing of the place."""
    cached = issue(cache, make_cached())
    ended(cache, clock)
    before = cache.state

    assert cache.note_refusal(cached, "GET /a") == (Verdict.REPLACED, False)
    assert cache.state is before


def test_the_acceptance_of_a_replaced_token_is_no_news(cache: TokenCache) -> None:
    """It tells of a place that refused, and of nothing else."""
    first = issue(cache, make_cached("1"))
    cache.note_refusal(first, SICK, sent_at=NOW)
    second = issue(cache, make_cached("2"))
    before = cache.state
    assert not cache.note_acceptance(first, WELL, sent_at=NOW)
    assert cache.state is before

    assert not cache.note_acceptance(first, SICK, sent_at=NOW)
    assert not cache.state.places.refusing
    assert cache.state.cached is second


def test_a_token_that_is_good_after_all_gives_its_renewal_back(
    cache: TokenCache, clock: ManualClock
) -> None:
    """Only a request that was sent after the refused one shows that; other renewals stay counted."""
    cache.note_refusal(issue(cache, make_cached("1")), sent_at=NOW)
    cached = issue(cache, make_cached("2"))
    clock.advance(1)
    sent_at = clock.monotonic()
    cache.note_refusal(cached, sent_at=sent_at)
    assert not cache.note_acceptance(cached, "", sent_at=sent_at)
    versions = [each.version for each in cache.state.renewals_of_401s]
    assert versions == ["version-1", "version-2"]

    assert cache.note_acceptance(cached, "", sent_at=sent_at + 0.1)
    assert [each.version for each in cache.state.renewals_of_401s] == ["version-1"]
    assert cache.alive() is not None


def test_a_newer_copy_is_the_same_token(cache: TokenCache) -> None:
    """A 401 for a token counts even if it was marked as accepted or spent meanwhile."""
    cached = issue(cache, make_cached())
    cache.note_acceptance(cached, "", sent_at=0.0)
    cache.mark_spent(cached.version, spent=True, shared=False)

    assert refuse(cache, cached) is Verdict.RENEW


@pytest.mark.invariant(17)
def test_budget(cache: TokenCache, clock: ManualClock) -> None:
    """A fourth renewal within 30 s is not made, and the token stays in use; each counts for 30 s."""
    for name in "123":
        assert refuse(cache, issue(cache, make_cached(name))) is Verdict.RENEW
        clock.advance(5)
    fourth = issue(cache, make_cached("4"))
    clock.advance(14.9)
    assert refuse(cache, fourth) is Verdict.HAND_BACK
    assert fourth.same_token(cache.alive())

    clock.advance(0.1)
    assert refuse(cache, fourth) is Verdict.RENEW
    assert len(cache.state.renewals_of_401s) == 3
    assert refuse(cache, issue(cache, make_cached("5"))) is Verdict.HAND_BACK


@pytest.mark.invariant(17)
def test_budget_is_the_policys(clock: ManualClock) -> None:
    """The policy says how many renewals there may be, and within how long."""
    policy = RenewalPolicy(unauthorized_budget=1, unauthorized_window=2.0)
    cache = TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id=None)
    assert refuse(cache, issue(cache, make_cached("1"))) is Verdict.RENEW
    second = issue(cache, make_cached("2"))

    assert refuse(cache, second) is Verdict.HAND_BACK
    clock.advance(2)
    assert refuse(cache, second) is Verdict.RENEW


@pytest.mark.invariant(17)
@pytest.mark.report(40)
def test_hopeless(cache: TokenCache, clock: ManualClock) -> None:
    """A token that a 401 caused and that never worked is not replaced for 30 s (report 40)."""
    cached = issue(cache, make_cached(answers_refusal=True))
    clock.advance(29.9)

    assert refuse(cache, cached) is Verdict.HAND_BACK
    assert cached.same_token(cache.alive())
    assert cache.state.renewals_of_401s == ()
    clock.advance(0.1)
    assert refuse(cache, cached) is Verdict.RENEW


@pytest.mark.parametrize(
    "kind", [{}, {"accepted": True}, {"accepted": True, "answers_refusal": True}], ids=str
)
def test_not_hopeless(cache: TokenCache, kind: dict[str, Any]) -> None:
    """A token that no 401 caused, or that has worked, is replaced at once."""
    assert refuse(cache, issue(cache, make_cached(**kind))) is Verdict.RENEW


@pytest.mark.parametrize("answers_refusal", [False, True])
def test_a_refresh_that_never_worked_is_distrusted(
    cache: TokenCache, clock: ManualClock, answers_refusal: bool
) -> None:
    """A 401 for a token of AppRefreshToken that never worked causes logins for ten minutes."""
    cached = issue(cache, make_cached(by_refresh=True, answers_refusal=answers_refusal))

    assert refuse(cache, cached) is Verdict.RENEW
    clock.advance(599.9)
    assert cache.passes_over_refresh()
    clock.advance(0.1)
    assert not cache.passes_over_refresh()


def test_a_refresh_that_worked_is_trusted(cache: TokenCache) -> None:
    """A token of AppRefreshToken that worked was revoked: the next refresh may well work."""
    cached = issue(cache, make_cached(by_refresh=True))
    cache.note_acceptance(cached, "", sent_at=0.0)

    assert refuse(cache, cached) is Verdict.RENEW
    assert not cache.passes_over_refresh()


def test_a_place_that_refuses_two_tokens_is_known(answers: Answers) -> None:
    """A place that refuses a second token, good elsewhere, causes no renewal and costs no budget."""
    assert answers.refuse() is Verdict.RENEW
    answers.token("2", answers_refusal=True)
    answers.accept(WELL)

    assert [answers.refuse() for _ in range(3)] == [Verdict.HAND_BACK] * 3
    assert answers.cache.alive() is not None
    assert answers.cache.state.renewals_of_401s == ()


@pytest.mark.parametrize("took", [0.05, 5.0])
def test_a_place_is_known_once_others_accept(answers: Answers, took: float) -> None:
    """A place that refused a second token is known once another accepts that token."""
    answers.refuse()
    answers.token("2", answers_refusal=True)
    assert answers.refuse() is Verdict.HAND_BACK
    answers.accept(WELL, took=took)

    assert answers.refuse() is Verdict.HAND_BACK
    assert answers.cache.state.renewals_of_401s == ()


def test_a_place_that_is_contradicted_is_known(answers: Answers) -> None:
    """A refused token is good again once a request that left later is accepted elsewhere."""
    answers.refuse()

    assert answers.accept(WELL)
    assert answers.cache.fresh() is not None
    assert answers.refuse() is Verdict.HAND_BACK
    assert answers.cache.state.renewals_of_401s == ()


def test_a_place_that_is_busy_refusing_is_contradicted(answers: Answers) -> None:
    """A request that left after the first refusal counts, even if the place has refused more since."""
    answers.refuse()
    answers.clock.advance(1.0)
    answers.refuse()

    assert answers.accept(WELL, took=0.5)
    assert answers.cache.alive() is not None
    assert answers.refuse() is Verdict.HAND_BACK


@pytest.mark.parametrize("took", [0.1, 0.12, 0.2])
def test_an_earlier_request_contradicts_nobody(answers: Answers, took: float) -> None:
    """A request that left before the refusal was known may have been accepted before a revocation."""
    answers.refuse()
    answers.token("2", answers_refusal=True)
    answers.refuse()
    answers.accept(WELL, took=took)

    assert not answers.cache.state.places.refuses_what_others_accept(SICK)


def test_one_of_each_place_has_to_be_answered(answers: Answers) -> None:
    """A token that two places refuse is good once a request that left after both is accepted."""
    answers.refuse(SICK)
    answers.clock.advance(1.0)
    answers.refuse(OTHER)

    assert not answers.accept(WELL, took=0.5)
    assert answers.accept(WELL)


def test_a_known_place_is_forgiven(answers: Answers) -> None:
    """After any other answer of a known place, to any token, its next 401 counts again."""
    answers.refuse()
    answers.accept(WELL)
    answers.accept(SICK)

    assert answers.refuse() is Verdict.RENEW


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(599.0, Verdict.HAND_BACK), (601.0, Verdict.RENEW)]
)
def test_a_place_is_known_while_others_accept(
    answers: Answers, seconds: float, verdict: Verdict
) -> None:
    """Ten minutes after the last acceptance elsewhere, a known place is judged anew."""
    answers.refuse()
    answers.accept(WELL)
    answers.clock.advance(seconds)

    assert answers.refuse() is verdict


def test_a_place_that_refuses_now_and_then_costs_three(answers: Answers) -> None:
    """A place that accepts between its refusals causes three renewals, and then none for a while."""
    verdicts = []
    for number in range(10):
        verdicts.append(answers.refuse())
        if verdicts[-1] is Verdict.RENEW:
            answers.token(f"new-{number}", answers_refusal=True)
            answers.accept(WELL)
            answers.refuse()
        answers.accept(WELL)
        answers.accept(SICK)

    assert verdicts.count(Verdict.RENEW) == 3
    assert verdicts[-1] is Verdict.HAND_BACK
    answers.clock.advance(30.0)
    assert answers.refuse() is Verdict.RENEW


@pytest.mark.parametrize(
    ("has_accepted", "seconds", "verdict"),
    [(False, 29.0, Verdict.HAND_BACK), (False, 31.0, Verdict.RENEW), (True, 0.0, Verdict.RENEW)],
)
def test_after_an_unfounded_renewal_a_new_place_is_doubted(
    answers: Answers, seconds: float, verdict: Verdict, has_accepted: bool
) -> None:
    """For 30 s the 401s of places that never accepted cause no renewal of a token that works."""
    answers.refuse()
    answers.accept(WELL)
    if has_accepted:
        answers.accept(OTHER)
    answers.clock.advance(seconds)

    assert answers.refuse(OTHER) is verdict


def test_a_new_place_is_believed_once_the_other_accepts(answers: Answers) -> None:
    """Once the sick place accepts again, a new place's 401 counts."""
    answers.refuse()
    answers.accept(WELL)
    answers.accept(SICK)

    assert answers.refuse(OTHER) is Verdict.RENEW


@pytest.mark.parametrize(
    ("seconds", "then", "passes_over"),
    [(0.8, Verdict.HAND_BACK, False), (1.0, Verdict.RENEW, True)],
)
def test_others_tell_of_what_app_refresh_token_gave(
    answers: Answers, seconds: float, then: Verdict, passes_over: bool
) -> None:
    """For a second, other places may tell whether the place or AppRefreshToken is at fault."""
    answers.refuse()
    answers.token("2", by_refresh=True, answers_refusal=True)

    assert answers.refuse() is Verdict.HAND_BACK
    assert not answers.cache.passes_over_refresh()
    answers.clock.advance(seconds)
    assert answers.refuse() is then
    assert answers.cache.passes_over_refresh() is passes_over


def test_app_refresh_token_is_at_fault_if_the_place_accepted_before(answers: Answers) -> None:
    """A place that has accepted tokens is believed at once."""
    answers.cache.note_acceptance(answers.token("2"), SICK, sent_at=0.0)
    answers.refuse()
    answers.token("3", by_refresh=True, answers_refusal=True)

    assert answers.refuse() is Verdict.RENEW
    assert answers.cache.passes_over_refresh()


@pytest.mark.report(18)
@pytest.mark.parametrize(
    ("places", "told"),
    [
        pytest.param([WELL] * 3, [True, False, False], id="renewing"),
        pytest.param([SICK] * 3, [True, False, False], id="handed back"),
        pytest.param([SICK, WELL, WELL], [True, True, False], id="handed back, then renewing"),
        pytest.param([WELL, SICK, WELL], [True, False, False], id="renewing, then handed back"),
    ],
)
def test_a_refusal_is_reported_once_per_kind(
    answers: Answers, places: list[str], told: list[bool]
) -> None:
    """A token's refusals are reported twice at most, however many requests are refused."""
    answers.refuse(SICK)
    answers.token("2", answers_refusal=True)
    answers.accept(WELL)
    answers.clock.advance(31.0)

    assert [answers.cache.note_refusal(answers.cached, place)[1] for place in places] == told


@given(st.lists(st.sampled_from(["ask well", "ask sick", "first", "last", "log in"]), max_size=99))
def test_a_sick_place_costs_one_renewal(steps: list[str]) -> None:
    """In any order of its answers and those of a healthy place, a sick place causes one renewal at most."""
    clock, policy = ManualClock(), RenewalPolicy()
    cache = TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id="app")
    under_way: list[tuple[str, CachedToken, float]] = []

    def log_in() -> CachedToken:
        number = cache.state.logins
        cached = CachedToken(
            token=Token(jwt=Secret(f"jwt-{number}"), refresh_token=None),
            version=f"{number}",
            lifetime=3600.0,
            schedule=policy.schedule(3600.0, 0.5),
            requested_at=clock.monotonic(),
            refresh_lifetime=None,
            answers_refusal=number > 0,
        )
        return issue(cache, cached)

    cache.note_acceptance(log_in(), WELL, sent_at=clock.monotonic())
    is_refreshing = False
    for step in steps:
        clock.advance(0.25)
        cached = cache.alive() or cache.refused()
        assert cached is not None
        if step.startswith("ask"):
            under_way.append((WELL if step == "ask well" else SICK, cached, clock.monotonic()))
        elif step == "log in" and is_refreshing:
            log_in()
            is_refreshing = False
        elif step != "log in" and under_way:
            place, sent, sent_at = under_way.pop(0 if step == "first" else -1)
            if place == WELL:
                cache.note_acceptance(sent, WELL, sent_at=sent_at)
            else:
                verdict, _ = cache.note_refusal(sent, SICK, sent_at=sent_at)
                is_refreshing |= verdict is Verdict.RENEW

    assert cache.state.logins + is_refreshing <= 2
