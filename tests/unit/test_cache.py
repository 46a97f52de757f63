from __future__ import annotations

import pytest

from taxizer_async._core.exchange import Unavailable
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cache_state import CacheState
from taxizer_async.testing import ManualClock
from tests.support.tokens import NOW, issue, make_cached, make_record


OUTAGE = Unavailable(reason="x")


def test_begins_empty(cache: TokenCache) -> None:
    """A new cache holds nothing but the client_id."""
    assert cache.state == CacheState(client_id="app")
    assert cache.freshness() is Freshness.EXPIRED
    assert cache.fresh() is cache.alive() is cache.replacement_for(None) is None
    assert (cache.unshared(), cache.active_failure()) == (None, None)
    assert cache.state.last_elapsed == 0.0
    assert not cache.is_left_to_others()


def test_issue(cache: TokenCache) -> None:
    """An issued token is held and counted as a login or a renewal, and ends failures."""
    for _ in range(3):
        cache.record_failure(OUTAGE, endpoint="/c", rejected=None, recheck=False)
    issue(cache, make_cached("1"))
    second = issue(cache, make_cached("2"), login=False)

    assert cache.state.cached is second
    assert (cache.state.logins, cache.state.renewals) == (1, 1)
    assert cache.state.last_elapsed == 0.1
    assert (cache.state.failure, cache.state.failures) == (None, 0)


def test_issue_after_forget(cache: TokenCache) -> None:
    """A token that was asked for before a `forget` is not held after it."""
    generation = cache.state.generation
    cache.forget()

    assert not cache.set_issued(make_cached(), login=True, elapsed=0.1, generation=generation)
    assert cache.state.cached is None
    assert cache.state.logins == 0
    issue(cache, make_cached())


def test_a_late_token_replaces_none(cache: TokenCache) -> None:
    """A token that was asked for before the one in use comes too late, which is no fault."""
    early = make_cached("1", requested_at=900.0)
    late = issue(cache, make_cached("2", requested_at=900.1))
    before = cache.state

    assert cache.set_issued(early, login=True, elapsed=0.1, generation=0)
    assert cache.state is before
    cache.forget()
    assert not cache.set_issued(early, login=True, elapsed=0.1, generation=0)
    assert not cache.set_issued(late, login=True, elapsed=0.1, generation=0)


def test_pass_over_refresh(cache: TokenCache, clock: ManualClock) -> None:
    """AppRefreshToken is passed over until the latest end that was set."""
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
    ("seconds", "freshness"),
    [
        (0, Freshness.FRESH),
        (77, Freshness.FRESH),
        (78, Freshness.RENEW_AHEAD),
        (90, Freshness.MUST_RENEW),
        (100, Freshness.EXPIRED),
    ],
)
def test_freshness(
    cache: TokenCache, clock: ManualClock, seconds: float, freshness: Freshness
) -> None:
    """A token that must be renewed replaces no other, and one that expired is not alive."""
    cached = issue(cache, make_cached(lifetime=100.0))
    clock.advance(seconds)

    assert cache.freshness() is freshness
    good = freshness in (Freshness.FRESH, Freshness.RENEW_AHEAD)
    assert cache.replacement_for(None) is (cached if good else None)


@pytest.mark.parametrize("jump", [3600.0, 86_400.0, -86_400.0])
def test_the_fast_path_asks_no_wall_clock(
    cache: TokenCache, clock: ManualClock, jump: float
) -> None:
    """A wall clock that is set, either way, neither spoils a fresh token nor keeps an old one."""
    cached = issue(cache, make_cached())
    clock.jump(jump)

    assert cache.fresh() is cached
    clock.advance(3550)
    assert cache.fresh() is None


def test_the_fast_path_ends_when_the_renewal_is_due(cache: TokenCache, clock: ManualClock) -> None:
    """From the moment on at which it is to be renewed, a token is not fresh, whichever way it is asked."""
    cached = issue(cache, make_cached())
    clock.advance(cached.schedule.renew_after)

    assert cache.fresh() is None
    assert cache.freshness() is Freshness.RENEW_AHEAD


def test_unshared(cache: TokenCache) -> None:
    """A token that no store has is unshared."""
    cached = issue(cache, make_cached("1"))

    assert cache.unshared() is cached
    issue(cache, make_cached("2", shared=True))
    assert cache.unshared() is None


def test_accept(cache: TokenCache) -> None:
    """An accepted token is noted as such; the acceptance of another changes nothing."""
    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state.cached is None

    issue(cache, make_cached("1"))
    cache.note_acceptance(make_cached("2"), "", sent_at=0.0)
    assert cache.state.cached == make_cached("1")

    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state.cached == make_cached("1", accepted=True)
    before = cache.state
    cache.note_acceptance(make_cached("1"), "", sent_at=0.0)
    assert cache.state is before


def test_an_acceptance_releases_callers_if_a_token_was_being_replaced(cache: TokenCache) -> None:
    """Only the acceptance of a refused token is a reason to let its callers go."""
    cached = issue(cache, make_cached())
    assert not cache.note_acceptance(cached, "", sent_at=NOW)
    assert not cache.note_acceptance(cached, "", sent_at=NOW)
    cache.note_refusal(cached, "GET other", sent_at=NOW)

    assert cache.note_acceptance(cached, "", sent_at=NOW + 1)


def test_listens_while_an_answer_may_change_something(
    cache: TokenCache, clock: ManualClock
) -> None:
    """An answer other than 401 is of no interest once the token is accepted and no place refuses it."""
    assert cache.state.listens
    first = issue(cache, make_cached("1"))
    assert cache.state.listens
    cache.note_acceptance(first, "GET well", sent_at=NOW)
    assert not cache.state.listens
    clock.advance(1)
    cache.note_refusal(first, "GET sick", sent_at=clock.monotonic())
    assert cache.state.listens
    second = issue(cache, make_cached("2", requested_at=clock.monotonic()))
    cache.note_acceptance(second, "GET well", sent_at=clock.monotonic())
    assert cache.state.listens
    clock.advance(1)
    cache.note_acceptance(second, "GET sick", sent_at=clock.monotonic())
    assert not cache.state.listens


def test_mark_spent(cache: TokenCache) -> None:
    """A refresh token is marked as spent, and unmarked, by its token's version."""
    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached is None

    issue(cache, make_cached("1"))
    cache.mark_spent("version-2", spent=True, shared=False)
    assert cache.state.cached == make_cached("1")

    cache.mark_spent("version-1", spent=True, shared=False)
    assert cache.state.cached == make_cached("1", refresh_spent=True)
    cache.mark_spent("version-1", spent=False, shared=False)
    assert cache.state.cached == make_cached("1")


@pytest.mark.parametrize(("before", "told"), [(True, False), (False, True), (True, True)])
def test_a_token_stays_shared(cache: TokenCache, *, before: bool, told: bool) -> None:
    """A token that others have found once in the store is shared from then on."""
    issue(cache, make_cached("1", shared=before))
    cache.mark_spent("version-1", spent=True, shared=told)

    assert cache.state.cached == make_cached("1", refresh_spent=True, shared=True)


@pytest.mark.parametrize(
    ("name", "age", "newer"), [("1", 10.1, True), ("1", 10.0, False), ("2", 20.0, False)]
)
def test_is_newer_than(
    *, cache: TokenCache, clock: ManualClock, name: str, age: float, newer: bool
) -> None:
    """The token in use is newer than a record of another that was asked for earlier, and of no other."""
    assert not cache.is_newer_than(make_record(name, age=age))
    issue(cache, make_cached("2"))
    clock.advance(10)

    assert cache.is_newer_than(make_record(name, age=age)) is newer


@pytest.mark.parametrize(("to_need", "left_for"), [(60.0, 1.0), (0.5, 0.5), (0.0, 0.01)])
def test_leave_to_others(
    cache: TokenCache, clock: ManualClock, to_need: float, left_for: float
) -> None:
    """A renewal is left to others for a second, or until callers need it, but at least until the next look."""
    cache.leave_to_others()
    assert not cache.is_left_to_others()
    cached = issue(cache, make_cached())
    clock.advance(cached.schedule.must_after - to_need)
    cache.leave_to_others()

    clock.advance(left_for - 0.001)
    assert cache.is_left_to_others()
    clock.advance(0.001)
    assert not cache.is_left_to_others()


def test_adopt(cache: TokenCache) -> None:
    """A good token of the store is held, counted, and ends failures."""
    cache.record_failure(OUTAGE, endpoint="/c", rejected=None, recheck=False)
    cached = cache.adopt(make_record("2"), None, generation=0)

    assert cached is not None
    assert cached.token == make_record("2").token
    assert cached.shared
    assert cache.state == CacheState(client_id="app", cached=cached, adoptions=1)


def test_adopt_wants_another(cache: TokenCache) -> None:
    """The very token that is to be replaced is not adopted."""
    stale = issue(cache, make_cached("1", refused=True))

    assert cache.adopt(make_record("1"), stale, generation=0) is None
    assert cache.state.cached is stale
    assert cache.adopt(make_record("2"), stale, generation=0) is not None


def test_adopt_wants_no_refused_token(cache: TokenCache) -> None:
    """A token that was refused while its predecessor's refresh ran is not adopted again."""
    refused = issue(cache, make_cached("2", refused=True))

    assert cache.adopt(make_record("2"), make_cached("1"), generation=0) is None
    assert cache.state.cached is refused


def test_a_forgotten_token_is_not_adopted(cache: TokenCache) -> None:
    """A record of the forgotten token, which another client saved again, is left alone."""
    issue(cache, make_cached("1"))
    cache.forget()
    cache.forget()

    assert cache.is_forgotten(make_record("1"))
    assert cache.adopt(make_record("1"), None, generation=cache.state.generation) is None
    assert cache.adopt(make_record("2"), None, generation=cache.state.generation) is not None


def test_adopt_after_forget(cache: TokenCache) -> None:
    """A record that was read before a `forget` is not adopted after it."""
    generation = cache.state.generation
    cache.forget()

    assert cache.adopt(make_record(), None, generation=generation) is None
    assert (cache.state.cached, cache.state.adoptions) == (None, 0)
