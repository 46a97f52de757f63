from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async import RenewalPolicy
from taxizer_async._ledger import Ledger


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._held import Held
    from taxizer_async.testing._manual_clock import ManualClock


def _issue(ledger: Ledger, held: Held) -> Held:
    assert ledger.issue(held, login=True, elapsed=0.1, epoch=ledger.state.epoch)
    return held


def test_refuse(ledger: Ledger, hold: Callable[..., Held], clock: ManualClock) -> None:
    """A 401 for the token in use takes it out of use, and one renewal from the budget."""
    held = _issue(ledger, hold())

    assert ledger.refuse(held) is True
    assert ledger.state.held == hold(refused=True)
    assert ledger.state.refusals == (clock.monotonic(),)


@pytest.mark.report(18)
def test_a_second_401_is_free(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """Twenty requests that were under way with the same token cost one renewal (report 18)."""
    held = _issue(ledger, hold())
    ledger.refuse(held)

    assert [ledger.refuse(held) for _ in range(20)] == [None] * 20
    assert len(ledger.state.refusals) == 1


def test_a_late_401_is_free(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A 401 for a token that was replaced meanwhile changes nothing."""
    old = _issue(ledger, hold("1"))
    _issue(ledger, hold("2"))
    before = ledger.state

    assert ledger.refuse(old) is None
    assert ledger.state is before


def test_a_401_after_forget_is_free(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A 401 for a token that was forgotten changes nothing."""
    held = _issue(ledger, hold())
    ledger.forget()

    assert ledger.refuse(held) is None
    assert ledger.state.refusals == ()


def test_a_newer_copy_is_the_same_token(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A 401 for a token counts although that was marked as accepted or spent meanwhile."""
    held = _issue(ledger, hold())
    ledger.accept(held)
    ledger.mark_spent(held.version, spent=True, shared=False)

    assert ledger.refuse(held) is True


def test_budget(ledger: Ledger, hold: Callable[..., Held], clock: ManualClock) -> None:
    """The fourth renewal within 30 s is not made, and the token stays in use."""
    for name in "123":
        assert ledger.refuse(_issue(ledger, hold(name))) is True
        clock.advance(5)
    fourth = _issue(ledger, hold("4"))

    assert ledger.refuse(fourth) is False
    assert ledger.alive() is fourth
    assert len(ledger.state.refusals) == 3


def test_budget_comes_back(ledger: Ledger, hold: Callable[..., Held], clock: ManualClock) -> None:
    """Each renewal counts for 30 s, and no longer."""
    for name in "123":
        ledger.refuse(_issue(ledger, hold(name)))
        clock.advance(5)
    fourth = _issue(ledger, hold("4"))
    clock.advance(14.9)
    assert ledger.refuse(fourth) is False

    clock.advance(0.1)
    assert ledger.refuse(fourth) is True
    assert len(ledger.state.refusals) == 3
    assert ledger.refuse(_issue(ledger, hold("5"))) is False


def test_budget_is_the_policys(clock: ManualClock, hold: Callable[..., Held]) -> None:
    """The policy says how many renewals there may be, and within how long."""
    policy = RenewalPolicy(unauthorized_budget=1, unauthorized_window=2.0)
    ledger = Ledger(policy=policy, clock=clock, random=lambda: 0.5, client_id=None)
    assert ledger.refuse(_issue(ledger, hold("1"))) is True
    second = _issue(ledger, hold("2"))

    assert ledger.refuse(second) is False
    clock.advance(2)
    assert ledger.refuse(second) is True


@pytest.mark.report(40)
def test_hopeless(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A token that a 401 caused and that never worked is not replaced at once (report 40)."""
    held = _issue(ledger, hold(answers_refusal=True))

    assert ledger.refuse(held) is False
    assert ledger.alive() is held
    assert ledger.state.refusals == ()


def test_hopeless_for_a_while(
    ledger: Ledger, hold: Callable[..., Held], clock: ManualClock
) -> None:
    """After 30 s such a token may be replaced again."""
    held = _issue(ledger, hold(answers_refusal=True))
    clock.advance(29.9)
    assert ledger.refuse(held) is False

    clock.advance(0.1)
    assert ledger.refuse(held) is True


def test_not_hopeless_once_accepted(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """Such a token that has worked meanwhile was revoked, so that a new one helps."""
    held = _issue(ledger, hold(answers_refusal=True))
    ledger.accept(held)

    assert ledger.refuse(held) is True


@pytest.mark.parametrize("accepted", [False, True])
def test_a_first_token_is_not_hopeless(
    *, ledger: Ledger, hold: Callable[..., Held], accepted: bool
) -> None:
    """A token that no 401 caused is replaced, whether it ever worked or not."""
    assert ledger.refuse(_issue(ledger, hold(accepted=accepted))) is True
