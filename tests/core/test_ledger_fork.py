from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async._held import Stage


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._held import Held
    from taxizer_async._ledger import Ledger
    from taxizer_async.testing._manual_clock import ManualClock
    from tests.core.conftest import ThreadWithin

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_a_child_uses_the_token(
    ledger: Ledger, hold: Callable[..., Held], in_child: Callable[[Callable[[], bool]], bool]
) -> None:
    """A forked child goes on with the token that its parent had."""
    ledger.issue(hold(), login=True, elapsed=0.1, epoch=0)

    assert in_child(lambda: ledger.fresh() == hold())


def test_a_childs_refresh_token_is_spent(
    ledger: Ledger,
    hold: Callable[..., Held],
    clock: ManualClock,
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A forked child takes its parent's refresh token for spent; the parent goes on with it."""
    ledger.issue(hold(), login=True, elapsed=0.1, epoch=0)

    def spent() -> bool:
        held = ledger.private()
        return held is not None and held.refresh_spent and not held.refreshable(clock)

    assert in_child(spent)
    held = ledger.private()
    assert held is not None
    assert held.refreshable(clock)


def test_a_childs_own_token_is_its_own(
    ledger: Ledger,
    hold: Callable[..., Held],
    clock: ManualClock,
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A token that a child got itself is refreshable there."""
    ledger.issue(hold("1"), login=True, elapsed=0.1, epoch=0)

    def own() -> bool:
        ledger.issue(hold("2"), login=True, elapsed=0.1, epoch=0)
        held = ledger.private()
        return held is not None and held.refreshable(clock)

    assert in_child(own)


def test_a_child_without_a_token(
    ledger: Ledger, in_child: Callable[[Callable[[], bool]], bool]
) -> None:
    """A fork before the first login leaves nothing to mark."""
    assert in_child(lambda: ledger.private() is None and ledger.stage() is Stage.GONE)


def test_a_child_is_not_locked_out(
    ledger: Ledger,
    hold: Callable[..., Held],
    in_child: Callable[[Callable[[], bool]], bool],
    thread_within: ThreadWithin,
) -> None:
    """A child can change its ledger although a thread of its parent was doing so at the fork."""
    ledger.issue(hold(), login=True, elapsed=0.1, epoch=0)

    def change() -> bool:
        ledger.note_client_id("child")
        ledger.forget()
        return ledger.state.client_id == "child" and ledger.state.held is None

    with thread_within(ledger._changing):
        assert in_child(change)
    assert ledger.state.client_id == "app"


def test_the_child_of_a_child(
    ledger: Ledger, hold: Callable[..., Held], in_child: Callable[[Callable[[], bool]], bool]
) -> None:
    """A grandchild takes its parent's refresh token for spent, too."""
    ledger.issue(hold(), login=True, elapsed=0.1, epoch=0)

    def grandchild_spent() -> bool:
        held = ledger.private()
        return held is not None and held.refresh_spent

    def child() -> bool:
        ledger.issue(hold("2"), login=True, elapsed=0.1, epoch=0)
        return in_child(grandchild_spent)

    assert in_child(child)
