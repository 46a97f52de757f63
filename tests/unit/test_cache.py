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


def _issue(cache: TokenCache, cached: CachedToken, *, login: bool = True) -> CachedToken:
    assert cache.set_issued(cached, login=login, elapsed=0.1, generation=cache.state.generation)
    return cached


def test_begins_empty(cache: TokenCache) -> None:
    """At first there is nothing but the client_id."""
    assert cache.state == CacheState(client_id="app")
    assert cache.freshness() is Freshness.EXPIRED
    assert cache.fresh() is None
    assert cache.alive() is None
    assert cache.replacement_for(None) is None
    assert cache.unshared() is None
    assert cache.active_failure() is None


def test_issue(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A token that was issued is held, and counted as a login or a renewal."""
    _issue(cache, make_cached("1"))
    second = make_cached("2")
    _issue(cache, second, login=False)

    assert cache.state.cached is second
    assert (cache.state.logins, cache.state.renewals) == (1, 1)
    assert cache.state.last_elapsed == 0.1


def test_issue_ends_failures(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A token that comes ends whatever failed before, and its back-off."""
    for _ in range(3):
        cache.record_failure(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    _issue(cache, make_cached())

    assert cache.state.failure is None
    assert cache.state.failures == 0


def test_issue_after_forget(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A token that was asked for before a `forget` is not held after it."""
    generation = cache.state.generation
    cache.forget()

    assert not cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=generation)
    assert cache.state.cached is None
    assert cache.state.logins == 0
    assert cache.set_issued(
        make_cached(), login=True, elapsed=0.1, generation=cache.state.generation
    )


def test_a_late_token_replaces_none(
    cache: TokenCache, make_cached: Callable[..., CachedToken]
) -> None:
    """A token that was asked for before the one that is held comes too late, and is no fault."""
    early = make_cached("1", requested_at=900.0)
    late = _issue(cache, make_cached("2", requested_at=900.1))
    before = cache.state

    assert cache.set_issued(early, login=True, elapsed=0.1, generation=0)
    assert cache.state is before
    cache.forget()
    assert not cache.set_issued(early, login=True, elapsed=0.1, generation=0)
    assert not cache.set_issued(late, login=True, elapsed=0.1, generation=0)


def test_a_token_asked_for_at_once_replaces(
    cache: TokenCache, make_cached: Callable[..., CachedToken]
) -> None:
    """Of two that were asked for at the same moment the one that comes last is held."""
    _issue(cache, make_cached("1"))
    second = _issue(cache, make_cached("2"))

    assert cache.state.cached is second


def test_forget(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """Forgetting drops the token and what failed, and neither counters nor whose it is."""
    cached = _issue(cache, make_cached())
    cache.record_failure(
        Refused(status_code=400), endpoint="/c", rejected=Credentials("app", "x"), recheck=False
    )
    cache.forget()

    assert cache.state == CacheState(
        client_id="app", generation=1, forgotten=cached.version, logins=1, last_elapsed=0.1
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
    make_cached: Callable[..., CachedToken],
    clock: ManualClock,
    seconds: float,
    stage: Freshness,
) -> None:
    """Only a fresh token is on the fast path, one that lives is alive, one that will do replaces."""
    cached = _issue(cache, make_cached(lifetime=100.0))
    clock.advance(seconds)

    assert cache.freshness() is stage
    assert cache.fresh() is (cached if stage is Freshness.FRESH else None)
    assert cache.alive() is (None if stage is Freshness.EXPIRED else cached)
    good = stage in (Freshness.FRESH, Freshness.RENEW_AHEAD)
    assert cache.replacement_for(None) is (cached if good else None)


@pytest.mark.parametrize("jump", [3600.0, 86_400.0, -86_400.0])
def test_the_fast_path_asks_no_wall_clock(
    cache: TokenCache, make_cached: Callable[..., CachedToken], clock: ManualClock, jump: float
) -> None:
    """A wall clock that is set, either way, neither spoils a fresh token nor keeps an old one."""
    cached = _issue(cache, make_cached())
    clock.jump(jump)

    assert cache.fresh() is cached
    clock.advance(3550)
    assert cache.fresh() is None


def test_a_refused_token_is_not_used(
    cache: TokenCache, make_cached: Callable[..., CachedToken]
) -> None:
    """A refused token is gone for all readers."""
    _issue(cache, make_cached(refused=True))

    assert cache.fresh() is None
    assert cache.alive() is None
    assert cache.replacement_for(None) is None
    assert cache.freshness() is Freshness.EXPIRED


def test_replacement_for(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """The replacement of a token is another one: the same JWT is none."""
    cached = _issue(cache, make_cached("2"))

    assert cache.replacement_for(make_cached("1")) is cached
    assert cache.replacement_for(make_cached("2", version="another")) is None


def test_private(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """Only a token that no store has is private."""
    cached = _issue(cache, make_cached("1"))

    assert cache.unshared() is cached
    _issue(cache, make_cached("2", shared=True))
    assert cache.unshared() is None


def test_accept(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A token that the server took is noted as accepted; a word about another changes nothing."""
    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state.cached is None

    _issue(cache, make_cached("1"))
    cache.note_acceptance(make_cached("2"), "", sent_at=0.0)
    assert cache.state.cached == make_cached("1")

    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state.cached == make_cached("1", accepted=True)
    before = cache.state
    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state is before


def test_mark_spent(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A refresh token is marked by its token's version, and unmarked likewise."""
    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached is None

    _issue(cache, make_cached("1"))
    cache.mark_spent("version-2", spent=True, shared=False)
    assert cache.state.cached == make_cached("1")

    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached == make_cached("1", refresh_spent=True)
    cache.mark_spent("version-1", spent=False, shared=False)
    assert cache.state.cached == make_cached("1")


def test_note_client_id(cache: TokenCache) -> None:
    """Whose token it is can change."""
    cache.note_client_id("other")

    assert cache.state.client_id == "other"


def test_hold_changes_nothing(
    cache: TokenCache, record: Callable[..., TokenRecord], clock: ManualClock
) -> None:
    """Looking at what a store has does not hold it."""
    cached = cache.read(record(age=5.0))

    assert cached.age(clock) == 5
    assert cached.shared
    assert cache.state.cached is None


def test_adopt(cache: TokenCache, record: Callable[..., TokenRecord]) -> None:
    """A good token of the store is held, counted, and ends failures."""
    cache.record_failure(Unavailable(reason="x"), endpoint="/c", rejected=None, recheck=False)
    cached = cache.adopt(record("2"), None, generation=0)

    assert cached is not None
    assert cached.token == record("2").token
    assert cache.state.cached is cached
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
    assert (cache.adopt(record(age=age), None, generation=0) is not None) is adopted
    assert (cache.state.cached is not None) is adopted


def test_adopt_wants_another(
    cache: TokenCache, record: Callable[..., TokenRecord], make_cached: Callable[..., CachedToken]
) -> None:
    """The very token that is to be replaced is not adopted."""
    stale = _issue(cache, make_cached("1", refused=True))

    assert cache.adopt(record("1"), stale, generation=0) is None
    assert cache.state.cached is stale
    assert cache.adopt(record("2"), stale, generation=0) is not None


def test_a_forgotten_token_is_not_adopted(
    cache: TokenCache, record: Callable[..., TokenRecord], make_cached: Callable[..., CachedToken]
) -> None:
    """A record of the token that `forget` dropped, which another client saved again, is left alone."""
    _issue(cache, make_cached("1"))
    cache.forget()
    cache.forget()

    assert cache.is_forgotten(record("1"))
    assert cache.adopt(record("1"), None, generation=cache.state.generation) is None
    assert cache.adopt(record("2"), None, generation=cache.state.generation) is not None


def test_adopt_after_forget(cache: TokenCache, record: Callable[..., TokenRecord]) -> None:
    """What a store had before a `forget` is not adopted after it."""
    generation = cache.state.generation
    cache.forget()

    assert cache.adopt(record(), None, generation=generation) is None
    assert cache.state.cached is None
    assert cache.state.adoptions == 0
    assert cache.adopt(record(), None, generation=cache.state.generation) is not None


def test_states_are_values(cache: TokenCache, make_cached: Callable[..., CachedToken]) -> None:
    """A state that was read does not change afterwards."""
    before = cache.state
    _issue(cache, make_cached())

    assert before.cached is None
    assert cache.state is not before
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.generation = 3  # type: ignore[misc]


def test_jitter_comes_from_outside(
    policy: RenewalPolicy, clock: ManualClock, record: Callable[..., TokenRecord]
) -> None:
    """Two holders with other random numbers renew a shared token at other times."""
    early = TokenCache(policy=policy, clock=clock, random=lambda: 0.0, client_id=None)
    late = TokenCache(policy=policy, clock=clock, random=lambda: 0.9, client_id=None)

    assert early.read(record()).schedule.renew_after < late.read(record()).schedule.renew_after
