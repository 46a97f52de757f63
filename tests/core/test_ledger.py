from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from taxizer_async._held import Held, Stage
from taxizer_async._ledger import Ledger, State
from taxizer_async._outcomes import Unavailable


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import RenewalPolicy
    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing._manual_clock import ManualClock


def _issue(ledger: Ledger, held: Held, *, login: bool = True) -> Held:
    assert ledger.issue(held, login=login, elapsed=0.1, epoch=ledger.state.epoch)
    return held


def test_begins_empty(ledger: Ledger) -> None:
    """At first there is nothing but the client_id."""
    assert ledger.state == State(client_id="app")
    assert ledger.stage() is Stage.GONE
    assert ledger.fresh() is None
    assert ledger.alive() is None
    assert ledger.successor(None) is None
    assert ledger.private() is None
    assert ledger.active_failure() is None


def test_issue(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A token that was issued is held, and counted as a login or a renewal."""
    _issue(ledger, hold("1"))
    second = hold("2")
    _issue(ledger, second, login=False)

    assert ledger.state.held is second
    assert (ledger.state.logins, ledger.state.renewals) == (1, 1)
    assert ledger.state.last_elapsed == 0.1


def test_issue_ends_failures(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A token that comes ends whatever failed before, and its back-off."""
    for _ in range(3):
        ledger.remember(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    _issue(ledger, hold())

    assert ledger.state.failure is None
    assert ledger.state.failures == 0


def test_issue_after_forget(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A token that was asked for before a `forget` is not held after it."""
    epoch = ledger.state.epoch
    ledger.forget()

    assert not ledger.issue(hold(), login=True, elapsed=0.1, epoch=epoch)
    assert ledger.state.held is None
    assert ledger.state.logins == 0
    assert ledger.issue(hold(), login=True, elapsed=0.1, epoch=ledger.state.epoch)


def test_forget_drops_the_token_alone(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """Forgetting drops the token, and neither counters nor whose it is."""
    _issue(ledger, hold())
    ledger.forget()

    assert ledger.state == State(client_id="app", epoch=1, logins=1, last_elapsed=0.1)


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        (0, Stage.FRESH),
        (77, Stage.FRESH),
        (78, Stage.DUE),
        (90, Stage.PRESSING),
        (100, Stage.GONE),
    ],
)
def test_stages(
    ledger: Ledger,
    hold: Callable[..., Held],
    clock: ManualClock,
    seconds: float,
    stage: Stage,
) -> None:
    """Only a fresh token is on the fast path, one that lives is alive, one that will do succeeds."""
    held = _issue(ledger, hold(lifetime=100.0))
    clock.advance(seconds)

    assert ledger.stage() is stage
    assert ledger.fresh() is (held if stage is Stage.FRESH else None)
    assert ledger.alive() is (None if stage is Stage.GONE else held)
    good = stage in (Stage.FRESH, Stage.DUE)
    assert ledger.successor(None) is (held if good else None)


@pytest.mark.parametrize("jump", [0.0, 3600.0, 86_400.0], ids=["awake", "an hour", "a day"])
def test_the_fast_path_knows_of_sleep(
    ledger: Ledger, hold: Callable[..., Held], clock: ManualClock, jump: float
) -> None:
    """A token that aged while the machine slept is not on the fast path."""
    held = _issue(ledger, hold())
    clock.jump(jump)

    assert ledger.fresh() is (None if jump else held)


def test_the_fast_path_outlives_a_step_back(
    ledger: Ledger, hold: Callable[..., Held], clock: ManualClock
) -> None:
    """A wall clock set back neither spoils a fresh token nor keeps an old one."""
    held = _issue(ledger, hold())
    clock.jump(-86_400)

    assert ledger.fresh() is held
    clock.advance(3550)
    assert ledger.fresh() is None


def test_a_refused_token_is_not_used(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A refused token is gone for all readers."""
    _issue(ledger, hold(refused=True))

    assert ledger.fresh() is None
    assert ledger.alive() is None
    assert ledger.successor(None) is None
    assert ledger.stage() is Stage.GONE


def test_successor(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """The successor of a token is another one: the same JWT is none."""
    held = _issue(ledger, hold("2"))

    assert ledger.successor(hold("1")) is held
    assert ledger.successor(hold("2", version="another")) is None


def test_private(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """Only a token that no store has is private."""
    held = _issue(ledger, hold("1"))

    assert ledger.private() is held
    _issue(ledger, hold("2", shared=True))
    assert ledger.private() is None


def test_accept(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A token that the server took is noted as accepted; a word about another changes nothing."""
    ledger.accept(hold("1"))
    assert ledger.state.held is None

    _issue(ledger, hold("1"))
    ledger.accept(hold("2"))
    assert ledger.state.held == hold("1")

    ledger.accept(hold("1"))
    assert ledger.state.held == hold("1", accepted=True)
    before = ledger.state
    ledger.accept(hold("1"))
    assert ledger.state is before


def test_mark_spent(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A refresh token is marked by its token's version, and unmarked likewise."""
    ledger.mark_spent("version-1", spent=True, shared=False)
    assert ledger.state.held is None

    _issue(ledger, hold("1"))
    ledger.mark_spent("version-2", spent=True, shared=False)
    assert ledger.state.held == hold("1")

    ledger.mark_spent("version-1", spent=True, shared=False)
    assert ledger.state.held == hold("1", refresh_spent=True)
    ledger.mark_spent("version-1", spent=False, shared=False)
    assert ledger.state.held == hold("1")


def test_note_client_id(ledger: Ledger) -> None:
    """Whose token it is can change."""
    ledger.note_client_id("other")

    assert ledger.state.client_id == "other"


def test_hold_changes_nothing(
    ledger: Ledger, record: Callable[..., TokenRecord], clock: ManualClock
) -> None:
    """Looking at what a store has does not hold it."""
    held = ledger.hold(record(age=5.0))

    assert held.age(clock) == 5
    assert held.shared
    assert ledger.state.held is None


def test_adopt(ledger: Ledger, record: Callable[..., TokenRecord]) -> None:
    """A good token of the store is held, counted, and ends failures."""
    ledger.remember(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    held = ledger.adopt(record("2"), None, epoch=0)

    assert held is not None
    assert held.token == record("2").token
    assert ledger.state.held is held
    assert ledger.state.adoptions == 1
    assert ledger.state.failure is None
    assert ledger.state.failures == 0
    assert ledger.state.logins == ledger.state.renewals == 0


@pytest.mark.parametrize(
    ("age", "adopted"), [(0.0, True), (3350.0, True), (3575.0, False), (3600.0, False)]
)
def test_adopt_wants_a_good_one(
    *, ledger: Ledger, record: Callable[..., TokenRecord], age: float, adopted: bool
) -> None:
    """A token of the store that is pressing or dead is not adopted."""
    assert (ledger.adopt(record(age=age), None, epoch=0) is not None) is adopted
    assert (ledger.state.held is not None) is adopted


def test_adopt_wants_another(
    ledger: Ledger, record: Callable[..., TokenRecord], hold: Callable[..., Held]
) -> None:
    """The very token that is to be replaced is not adopted."""
    stale = _issue(ledger, hold("1", refused=True))

    assert ledger.adopt(record("1"), stale, epoch=0) is None
    assert ledger.state.held is stale
    assert ledger.adopt(record("2"), stale, epoch=0) is not None


def test_adopt_after_forget(ledger: Ledger, record: Callable[..., TokenRecord]) -> None:
    """What a store had before a `forget` is not adopted after it."""
    epoch = ledger.state.epoch
    ledger.forget()

    assert ledger.adopt(record(), None, epoch=epoch) is None
    assert ledger.state.held is None
    assert ledger.state.adoptions == 0
    assert ledger.adopt(record(), None, epoch=ledger.state.epoch) is not None


def test_states_are_values(ledger: Ledger, hold: Callable[..., Held]) -> None:
    """A state that was read does not change afterwards."""
    before = ledger.state
    _issue(ledger, hold())

    assert before.held is None
    assert ledger.state is not before
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.epoch = 3  # type: ignore[misc]


def test_jitter_comes_from_outside(
    policy: RenewalPolicy, clock: ManualClock, record: Callable[..., TokenRecord]
) -> None:
    """Two holders with other random numbers renew a shared token at other times."""
    early = Ledger(policy=policy, clock=clock, random=lambda: 0.0, client_id=None)
    late = Ledger(policy=policy, clock=clock, random=lambda: 0.9, client_id=None)

    assert early.hold(record()).lifespan.renew_after < late.hold(record()).lifespan.renew_after
