from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async import RenewalPolicy
from taxizer_async._token.cache import RenewalOf401, TokenCache
from taxizer_async._token.places import Verdict


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async.testing._manual_clock import ManualClock


def _issue(cache: TokenCache, held: CachedToken) -> CachedToken:
    assert cache.issue(held, login=True, elapsed=0.1, epoch=cache.state.epoch)
    return held


def test_refuse(cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock) -> None:
    """A 401 for the token in use takes it out of use, and one renewal from the budget."""
    held = _issue(cache, hold())

    assert cache.refuse(held)[0] is Verdict.RENEW
    assert cache.state.cached is not None
    assert cache.state.cached.refused
    assert cache.alive() is None
    assert cache.state.renewals_of_401s == (
        RenewalOf401(at=clock.monotonic(), place="", version=held.version),
    )


@pytest.mark.report(18)
def test_a_second_401_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Twenty requests that were under way with the same token cost one renewal (report 18)."""
    held = _issue(cache, hold())
    cache.refuse(held)

    assert [cache.refuse(held) for _ in range(20)] == [(Verdict.RENEW, False)] * 20
    assert len(cache.state.renewals_of_401s) == 1


def test_a_late_401_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A 401 for a token that was replaced meanwhile changes nothing."""
    old = _issue(cache, hold("1"))
    _issue(cache, hold("2"))
    before = cache.state

    assert cache.refuse(old)[0] is Verdict.REPLACED
    assert cache.state is before


def test_a_401_after_forget_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A 401 for a token that was forgotten changes nothing."""
    held = _issue(cache, hold())
    cache.forget()

    assert cache.refuse(held)[0] is Verdict.REPLACED
    assert cache.state.renewals_of_401s == ()


def test_a_newer_copy_is_the_same_token(
    cache: TokenCache, hold: Callable[..., CachedToken]
) -> None:
    """A 401 for a token counts although that was marked as accepted or spent meanwhile."""
    held = _issue(cache, hold())
    cache.accept(held, "", sent_at=0.0)
    cache.mark_spent(held.version, spent=True, shared=False)

    assert cache.refuse(held)[0] is Verdict.RENEW


def test_budget(cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock) -> None:
    """The fourth renewal within 30 s is not made, and the token stays in use."""
    for name in "123":
        assert cache.refuse(_issue(cache, hold(name)))[0] is Verdict.RENEW
        clock.advance(5)
    fourth = _issue(cache, hold("4"))

    assert cache.refuse(fourth)[0] is Verdict.HAND_BACK
    assert fourth.same_token(cache.alive())
    assert len(cache.state.renewals_of_401s) == 3


def test_budget_comes_back(
    cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """Each renewal counts for 30 s, and no longer."""
    for name in "123":
        cache.refuse(_issue(cache, hold(name)))
        clock.advance(5)
    fourth = _issue(cache, hold("4"))
    clock.advance(14.9)
    assert cache.refuse(fourth)[0] is Verdict.HAND_BACK

    clock.advance(0.1)
    assert cache.refuse(fourth)[0] is Verdict.RENEW
    assert len(cache.state.renewals_of_401s) == 3
    assert cache.refuse(_issue(cache, hold("5")))[0] is Verdict.HAND_BACK


def test_budget_is_the_policys(clock: ManualClock, hold: Callable[..., CachedToken]) -> None:
    """The policy says how many renewals there may be, and within how long."""
    policy = RenewalPolicy(unauthorized_budget=1, unauthorized_window=2.0)
    cache = TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id=None)
    assert cache.refuse(_issue(cache, hold("1")))[0] is Verdict.RENEW
    second = _issue(cache, hold("2"))

    assert cache.refuse(second)[0] is Verdict.HAND_BACK
    clock.advance(2)
    assert cache.refuse(second)[0] is Verdict.RENEW


@pytest.mark.report(40)
def test_hopeless(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that a 401 caused and that never worked is not replaced at once (report 40)."""
    held = _issue(cache, hold(answers_refusal=True))

    assert cache.refuse(held)[0] is Verdict.HAND_BACK
    assert held.same_token(cache.alive())
    assert cache.state.renewals_of_401s == ()


def test_hopeless_for_a_while(
    cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """After 30 s such a token may be replaced again."""
    held = _issue(cache, hold(answers_refusal=True))
    clock.advance(29.9)
    assert cache.refuse(held)[0] is Verdict.HAND_BACK

    clock.advance(0.1)
    assert cache.refuse(held)[0] is Verdict.RENEW


def test_not_hopeless_once_accepted(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Such a token that has worked meanwhile was revoked, so that a new one helps."""
    held = _issue(cache, hold(answers_refusal=True))
    cache.accept(held, "", sent_at=0.0)

    assert cache.refuse(held)[0] is Verdict.RENEW


@pytest.mark.parametrize("accepted", [False, True])
def test_a_first_token_is_not_hopeless(
    *, cache: TokenCache, hold: Callable[..., CachedToken], accepted: bool
) -> None:
    """A token that no 401 caused is replaced, whether it ever worked or not."""
    assert cache.refuse(_issue(cache, hold(accepted=accepted)))[0] is Verdict.RENEW


@pytest.mark.parametrize("answers_refusal", [False, True])
def test_a_refresh_that_never_worked_is_distrusted(
    *,
    cache: TokenCache,
    hold: Callable[..., CachedToken],
    clock: ManualClock,
    answers_refusal: bool,
) -> None:
    """A 401 for a token of AppRefreshToken that never worked costs a login, and ten minutes of them."""
    held = _issue(cache, hold(by_refresh=True, answers_refusal=answers_refusal))

    assert cache.refuse(held)[0] is Verdict.RENEW
    clock.advance(599.9)
    assert cache.passes_over_refresh()
    clock.advance(0.1)
    assert not cache.passes_over_refresh()


def test_a_refresh_that_worked_is_trusted(
    cache: TokenCache, hold: Callable[..., CachedToken]
) -> None:
    """A token of AppRefreshToken that worked was revoked: the next refresh may well work."""
    held = _issue(cache, hold(by_refresh=True))
    cache.accept(held, "", sent_at=0.0)

    assert cache.refuse(held)[0] is Verdict.RENEW
    assert not cache.passes_over_refresh()
