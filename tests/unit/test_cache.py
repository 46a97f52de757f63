from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from taxizer_async import Credentials
from taxizer_async._core.exchange import Refused, Unavailable
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cache_state import CacheState


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import RenewalPolicy
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async.stores import TokenRecord
    from taxizer_async.testing._manual_clock import ManualClock


def _issue(cache: TokenCache, held: CachedToken, *, login: bool = True) -> CachedToken:
    assert cache.issue(held, login=login, elapsed=0.1, epoch=cache.state.epoch)
    return held


def test_begins_empty(cache: TokenCache) -> None:
    """At first there is nothing but the client_id."""
    assert cache.state == CacheState(client_id="app")
    assert cache.freshness() is Freshness.EXPIRED
    assert cache.fresh() is None
    assert cache.alive() is None
    assert cache.replacement_for(None) is None
    assert cache.private() is None
    assert cache.active_failure() is None


def test_issue(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that was issued is held, and counted as a login or a renewal."""
    _issue(cache, hold("1"))
    second = hold("2")
    _issue(cache, second, login=False)

    assert cache.state.cached is second
    assert (cache.state.logins, cache.state.renewals) == (1, 1)
    assert cache.state.last_elapsed == 0.1


def test_issue_ends_failures(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that comes ends whatever failed before, and its back-off."""
    for _ in range(3):
        cache.remember(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    _issue(cache, hold())

    assert cache.state.failure is None
    assert cache.state.failures == 0


def test_issue_after_forget(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that was asked for before a `forget` is not held after it."""
    epoch = cache.state.epoch
    cache.forget()

    assert not cache.issue(hold(), login=True, elapsed=0.1, epoch=epoch)
    assert cache.state.cached is None
    assert cache.state.logins == 0
    assert cache.issue(hold(), login=True, elapsed=0.1, epoch=cache.state.epoch)


def test_a_late_token_replaces_none(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that was asked for before the one that is held comes too late, and is no fault."""
    early = hold("1", requested_at=900.0)
    late = _issue(cache, hold("2", requested_at=900.1))
    before = cache.state

    assert cache.issue(early, login=True, elapsed=0.1, epoch=0)
    assert cache.state is before
    cache.forget()
    assert not cache.issue(early, login=True, elapsed=0.1, epoch=0)
    assert not cache.issue(late, login=True, elapsed=0.1, epoch=0)


def test_a_token_asked_for_at_once_replaces(
    cache: TokenCache, hold: Callable[..., CachedToken]
) -> None:
    """Of two that were asked for at the same moment the one that comes last is held."""
    _issue(cache, hold("1"))
    second = _issue(cache, hold("2"))

    assert cache.state.cached is second


def test_forget(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Forgetting drops the token and what failed, and neither counters nor whose it is."""
    held = _issue(cache, hold())
    cache.remember(
        Refused(status_code=400), endpoint="/c", rejected=Credentials("app", "x"), recheck=False
    )
    cache.forget()

    assert cache.state == CacheState(
        client_id="app", epoch=1, forgotten=held.version, logins=1, last_elapsed=0.1
    )


def test_pass_over_refresh(cache: TokenCache, clock: ManualClock) -> None:
    """AppRefreshToken is passed over for as long as was said last, unless that was longer before."""
    assert not cache.passes_over_refresh()
    cache.pass_over_refresh(60.0)
    cache.pass_over_refresh(10.0)
    clock.advance(59.9)
    assert cache.passes_over_refresh()
    cache.pass_over_refresh(10.0)
    clock.advance(9.9)
    assert cache.passes_over_refresh()
    clock.advance(0.2)

    assert not cache.passes_over_refresh()


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        (0, Freshness.FRESH),
        (77, Freshness.FRESH),
        (78, Freshness.RENEW_AHEAD),
        (90, Freshness.MUST_RENEW),
        (100, Freshness.EXPIRED),
    ],
)
def test_stages(
    cache: TokenCache,
    hold: Callable[..., CachedToken],
    clock: ManualClock,
    seconds: float,
    stage: Freshness,
) -> None:
    """Only a fresh token is on the fast path, one that lives is alive, one that will do replaces."""
    held = _issue(cache, hold(lifetime=100.0))
    clock.advance(seconds)

    assert cache.freshness() is stage
    assert cache.fresh() is (held if stage is Freshness.FRESH else None)
    assert cache.alive() is (None if stage is Freshness.EXPIRED else held)
    good = stage in (Freshness.FRESH, Freshness.RENEW_AHEAD)
    assert cache.replacement_for(None) is (held if good else None)


@pytest.mark.parametrize("jump", [3600.0, 86_400.0, -86_400.0])
def test_the_fast_path_asks_no_wall_clock(
    cache: TokenCache, hold: Callable[..., CachedToken], clock: ManualClock, jump: float
) -> None:
    """A wall clock that is set, either way, neither spoils a fresh token nor keeps an old one."""
    held = _issue(cache, hold())
    clock.jump(jump)

    assert cache.fresh() is held
    clock.advance(3550)
    assert cache.fresh() is None


def test_a_refused_token_is_not_used(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A refused token is gone for all readers."""
    _issue(cache, hold(refused=True))

    assert cache.fresh() is None
    assert cache.alive() is None
    assert cache.replacement_for(None) is None
    assert cache.freshness() is Freshness.EXPIRED


def test_replacement_for(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """The replacement of a token is another one: the same JWT is none."""
    held = _issue(cache, hold("2"))

    assert cache.replacement_for(hold("1")) is held
    assert cache.replacement_for(hold("2", version="another")) is None


def test_private(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """Only a token that no store has is private."""
    held = _issue(cache, hold("1"))

    assert cache.private() is held
    _issue(cache, hold("2", shared=True))
    assert cache.private() is None


def test_accept(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A token that the server took is noted as accepted; a word about another changes nothing."""
    cache.accept(hold("1"), "", sent_at=0.0)
    assert cache.state.cached is None

    _issue(cache, hold("1"))
    cache.accept(hold("2"), "", sent_at=0.0)
    assert cache.state.cached == hold("1")

    cache.accept(hold("1"), "", sent_at=0.0)
    assert cache.state.cached == hold("1", accepted=True)
    before = cache.state
    cache.accept(hold("1"), "", sent_at=0.0)
    assert cache.state is before


def test_mark_spent(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A refresh token is marked by its token's version, and unmarked likewise."""
    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached is None

    _issue(cache, hold("1"))
    cache.mark_spent("version-2", spent=True, shared=False)
    assert cache.state.cached == hold("1")

    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached == hold("1", refresh_spent=True)
    cache.mark_spent("version-1", spent=False, shared=False)
    assert cache.state.cached == hold("1")


def test_note_client_id(cache: TokenCache) -> None:
    """Whose token it is can change."""
    cache.note_client_id("other")

    assert cache.state.client_id == "other"


def test_hold_changes_nothing(
    cache: TokenCache, record: Callable[..., TokenRecord], clock: ManualClock
) -> None:
    """Looking at what a store has does not hold it."""
    held = cache.hold(record(age=5.0))

    assert held.age(clock) == 5
    assert held.shared
    assert cache.state.cached is None


def test_adopt(cache: TokenCache, record: Callable[..., TokenRecord]) -> None:
    """A good token of the store is held, counted, and ends failures."""
    cache.remember(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    held = cache.adopt(record("2"), None, epoch=0)

    assert held is not None
    assert held.token == record("2").token
    assert cache.state.cached is held
    assert cache.state.adoptions == 1
    assert cache.state.failure is None
    assert cache.state.failures == 0
    assert cache.state.logins == cache.state.renewals == 0


@pytest.mark.parametrize(
    ("age", "adopted"), [(0.0, True), (3350.0, True), (3575.0, False), (3600.0, False)]
)
def test_adopt_wants_a_good_one(
    *, cache: TokenCache, record: Callable[..., TokenRecord], age: float, adopted: bool
) -> None:
    """A token of the store that is pressing or dead is not adopted."""
    assert (cache.adopt(record(age=age), None, epoch=0) is not None) is adopted
    assert (cache.state.cached is not None) is adopted


def test_adopt_wants_another(
    cache: TokenCache, record: Callable[..., TokenRecord], hold: Callable[..., CachedToken]
) -> None:
    """The very token that is to be replaced is not adopted."""
    stale = _issue(cache, hold("1", refused=True))

    assert cache.adopt(record("1"), stale, epoch=0) is None
    assert cache.state.cached is stale
    assert cache.adopt(record("2"), stale, epoch=0) is not None


def test_a_forgotten_token_is_not_adopted(
    cache: TokenCache, record: Callable[..., TokenRecord], hold: Callable[..., CachedToken]
) -> None:
    """A record of the token that `forget` dropped, which another client saved again, is left alone."""
    _issue(cache, hold("1"))
    cache.forget()
    cache.forget()

    assert cache.is_forgotten(record("1"))
    assert cache.adopt(record("1"), None, epoch=cache.state.epoch) is None
    assert cache.adopt(record("2"), None, epoch=cache.state.epoch) is not None


def test_adopt_after_forget(cache: TokenCache, record: Callable[..., TokenRecord]) -> None:
    """What a store had before a `forget` is not adopted after it."""
    epoch = cache.state.epoch
    cache.forget()

    assert cache.adopt(record(), None, epoch=epoch) is None
    assert cache.state.cached is None
    assert cache.state.adoptions == 0
    assert cache.adopt(record(), None, epoch=cache.state.epoch) is not None


def test_states_are_values(cache: TokenCache, hold: Callable[..., CachedToken]) -> None:
    """A state that was read does not change afterwards."""
    before = cache.state
    _issue(cache, hold())

    assert before.cached is None
    assert cache.state is not before
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.epoch = 3  # type: ignore[misc]


def test_jitter_comes_from_outside(
    policy: RenewalPolicy, clock: ManualClock, record: Callable[..., TokenRecord]
) -> None:
    """Two holders with other random numbers renew a shared token at other times."""
    early = TokenCache(policy=policy, clock=clock, random=lambda: 0.0, client_id=None)
    late = TokenCache(policy=policy, clock=clock, random=lambda: 0.9, client_id=None)

    assert early.hold(record()).schedule.renew_after < late.hold(record()).schedule.renew_after
