from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async import RenewalPolicy
from taxizer_async._token.cache import TokenCache


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

    assert cache.refuse(held) is True
    assert cache.state.cached == hold(refused=True)
    assert cache.state.refusals == (clock.monotonic(),)


@pytest.mark.report(18)
def test_a_second_401_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Twenty requests that were under way with the same token cost one renewal (report 18)."""
    held = _issue(cache, hold())
    cache.refuse(held)

    assert [cache.refuse(held) for _ in range(20)] == [None] * 20
    assert len(cache.state.refusals) == 1


def test_a_late_401_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A 401 for a token that was replaced meanwhile changes nothing."""
    old = _issue(cache, hold("1"))
    _issue(cache, hold("2"))
    before = cache.state

    assert cache.refuse(old) is None
    assert cache.state is before


def test_a_401_after_forget_is_free(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A 401 for a token that was forgotten changes nothing."""
    held = _issue(cache, hold())
    cache.forget()

    assert cache.refuse(held) is None
    assert cache.state.refusals == ()


def test_a_newer_copy_is_the_same_token(
    cache: TokenCache, hold: Callable[..., CachedToken]
) -> None:
    """A 401 for a token counts although that was marked as accepted or spent meanwhile."""
    held = _issue(cache, hold())
    cache.accept(held)
    cache.mark_spent(held.version, spent=True, shared=False)

    assert cache.refuse(held) is True


def test_budget(cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock) -> None:
    """The fourth renewal within 30 s is not made, and the token stays in use."""
    for name in "123":
        assert cache.refuse(_issue(cache, hold(name))) is True
        clock.advance(5)
    fourth = _issue(cache, hold("4"))

    assert cache.refuse(fourth) is False
    assert cache.alive() is fourth
    assert len(cache.state.refusals) == 3


def test_budget_comes_back(
    cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """Each renewal counts for 30 s, and no longer."""
    for name in "123":
        cache.refuse(_issue(cache, hold(name)))
        clock.advance(5)
    fourth = _issue(cache, hold("4"))
    clock.advance(14.9)
    assert cache.refuse(fourth) is False

    clock.advance(0.1)
    assert cache.refuse(fourth) is True
    assert len(cache.state.refusals) == 3
    assert cache.refuse(_issue(cache, hold("5"))) is False


def test_budget_is_the_policys(clock: ManualClock, hold: Callable[..., CachedToken]) -> None:
    """The policy says how many renewals there may be, and within how long."""
    policy = RenewalPolicy(unauthorized_budget=1, unauthorized_window=2.0)
    cache = TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id=None)
    assert cache.refuse(_issue(cache, hold("1"))) is True
    second = _issue(cache, hold("2"))

    assert cache.refuse(second) is False
    clock.advance(2)
    assert cache.refuse(second) is True


@pytest.mark.report(40)
def test_hopeless(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that a 401 caused and that never worked is not replaced at once (report 40)."""
    held = _issue(cache, hold(answers_refusal=True))

    assert cache.refuse(held) is False
    assert cache.alive() is held
    assert cache.state.refusals == ()


def test_hopeless_for_a_while(
    cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """After 30 s such a token may be replaced again."""
    held = _issue(cache, hold(answers_refusal=True))
    clock.advance(29.9)
    assert cache.refuse(held) is False

    clock.advance(0.1)
    assert cache.refuse(held) is True


def test_not_hopeless_once_accepted(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Such a token that has worked meanwhile was revoked, so that a new one helps."""
    held = _issue(cache, hold(answers_refusal=True))
    cache.accept(held)

    assert cache.refuse(held) is True


@pytest.mark.parametrize("accepted", [False, True])
def test_a_first_token_is_not_hopeless(
    *, cache: TokenCache, hold: Callable[..., CachedToken], accepted: bool
) -> None:
    """A token that no 401 caused is replaced, whether it ever worked or not."""
    assert cache.refuse(_issue(cache, hold(accepted=accepted))) is True


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

    assert cache.refuse(held) is True
    clock.advance(599.9)
    assert cache.passes_over_refresh()
    clock.advance(0.1)
    assert not cache.passes_over_refresh()


def test_a_refresh_that_worked_is_trusted(
    cache: TokenCache, hold: Callable[..., CachedToken]
) -> None:
    """A token of AppRefreshToken that worked was revoked: the next refresh may well work."""
    held = _issue(cache, hold(by_refresh=True))
    cache.accept(held)

    assert cache.refuse(held) is True
    assert not cache.passes_over_refresh()
