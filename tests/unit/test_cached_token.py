from __future__ import annotations

import math

from typing import TYPE_CHECKING

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import RenewalPolicy, Secret, Token
from taxizer_async._core.exchange import Issued
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cached_token import CachedToken, from_issued, from_record
from taxizer_async.testing._manual_clock import ManualClock


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.stores import TokenRecord


def _hold_issued(
    issued: Issued,
    clock: ManualClock,
    *,
    answers_refusal: bool = False,
    by_refresh: bool = False,
) -> CachedToken:
    return from_issued(
        issued,
        version="v",
        clock=clock,
        policy=RenewalPolicy(),
        jitter=0.0,
        answers_refusal=answers_refusal,
        by_refresh=by_refresh,
    )


def test_age(make_cached: Callable[..., CachedToken], clock: ManualClock) -> None:
    """The age counts from when the token was asked for."""
    cached = make_cached()
    clock.advance(12.5)

    assert cached.age(clock) == 12.5


@pytest.mark.parametrize("jump", [3600.0, -86_400.0])
def test_age_after_the_wall_clock_was_set(
    make_cached: Callable[..., CachedToken], clock: ManualClock, jump: float
) -> None:
    """A wall clock that is set, either way, makes the token neither older nor younger."""
    cached = make_cached()
    clock.advance(10)
    clock.jump(jump)

    assert cached.age(clock) == 10


def test_age_is_never_negative(make_cached: Callable[..., CachedToken], clock: ManualClock) -> None:
    """A token asked for in the future is just new."""
    cached = make_cached(requested_at=clock.monotonic() + 5)

    assert cached.age(clock) == 0


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        (0, Freshness.FRESH),
        (74, Freshness.FRESH),
        (80, Freshness.RENEW_AHEAD),
        (89, Freshness.RENEW_AHEAD),
        (90, Freshness.MUST_RENEW),
        (99, Freshness.MUST_RENEW),
        (100, Freshness.EXPIRED),
        (1e9, Freshness.EXPIRED),
    ],
)
def test_stages(
    make_cached: Callable[..., CachedToken], clock: ManualClock, seconds: float, stage: Freshness
) -> None:
    """A token is fresh, due, pressing, and gone, in this order."""
    cached = make_cached(lifetime=100.0)
    clock.advance(seconds)

    assert cached.freshness(clock) is stage


def test_a_refused_token_is_gone(
    make_cached: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """A token that was refused is gone, however new."""
    assert make_cached(refused=True).freshness(clock) is Freshness.EXPIRED


def test_remaining(make_cached: Callable[..., CachedToken], clock: ManualClock) -> None:
    """What remains shrinks to 0 and below; one used until refused never ends."""
    cached, undying = make_cached(lifetime=100.0), make_cached(lifetime=0.0)
    clock.advance(130)

    assert cached.remaining(clock) == -30
    assert undying.remaining(clock) == math.inf


def test_same_token(make_cached: Callable[..., CachedToken]) -> None:
    """Two are the same token exactly if their JWTs are equal."""
    assert make_cached("1").same_token(make_cached("1", version="another", refused=True))
    assert not make_cached("1").same_token(make_cached("2"))
    assert not make_cached("1").same_token(None)


@pytest.mark.parametrize(
    ("refresh_lifetime", "seconds", "refreshable"),
    [
        (None, 1e9, True),
        (100.0, 99, True),
        (100.0, 100, False),
        (0.0, 0, False),
        (-5.0, 0, False),
    ],
)
def test_refreshable(
    *,
    make_cached: Callable[..., CachedToken],
    clock: ManualClock,
    refresh_lifetime: float | None,
    seconds: float,
    refreshable: bool,
) -> None:
    """A refresh token is good until its own end, or for ever if that is unknown."""
    cached = make_cached(refresh_lifetime=refresh_lifetime)
    clock.advance(seconds)

    assert cached.refreshable(clock) is refreshable


def test_a_spent_one_is_not_refreshable(
    make_cached: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """A refresh token that was sent is not sent again."""
    assert not make_cached(refresh_spent=True).refreshable(clock)


def test_without_a_refresh_token(
    make_cached: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """A token that came without a refresh token cannot be refreshed."""
    assert not make_cached(token=Token(jwt=Secret("j"))).refreshable(clock)


def test_a_refused_token_is_refreshable(
    make_cached: Callable[..., CachedToken], clock: ManualClock
) -> None:
    """A 401 for the JWT does not lose the refresh token (invariant 10)."""
    assert make_cached(refused=True).refreshable(clock)


def test_hold_issued(issue: Callable[..., Issued], clock: ManualClock) -> None:
    """What was just issued is held from the moment it was asked for."""
    issued = issue()
    cached = _hold_issued(issued, clock, answers_refusal=True, by_refresh=True)
    clock.advance(5)

    assert cached.token is issued.token
    assert cached.version == "v"
    assert cached.lifetime == 3600
    assert cached.refresh_lifetime == 7200
    assert cached.age(clock) == 5
    assert cached.answers_refusal
    assert cached.by_refresh
    assert not cached.accepted
    assert not cached.refused
    assert not cached.shared
    assert not cached.refresh_spent


@pytest.mark.report(72)
def test_hold_issued_without_an_expiry(issue: Callable[..., Issued], clock: ManualClock) -> None:
    """A token without an expiry is taken to last 5 minutes."""
    cached = _hold_issued(issue(lifetime=None), clock)

    assert cached.lifetime == 300
    assert cached.remaining(clock) == 300


@pytest.mark.report(53)
@pytest.mark.parametrize("lifetime", [0.0625, 0.125, 0.0, -3600.0, -6.3e10])
def test_hold_issued_dead_on_arrival(
    issue: Callable[..., Issued], clock: ManualClock, lifetime: float
) -> None:
    """A token that ended before it came, or in year 1, is used until refused (report 53)."""
    issued = issue(lifetime=lifetime)
    clock.advance(0.125)
    cached = _hold_issued(issued, clock)
    clock.advance(29)

    assert cached.lifetime == 0
    assert cached.freshness(clock) is Freshness.FRESH
    clock.advance(1)
    assert cached.freshness(clock) is Freshness.RENEW_AHEAD
    clock.advance(1e9)
    assert cached.freshness(clock) is Freshness.RENEW_AHEAD


def test_hold_issued_after_retries(issue: Callable[..., Issued], clock: ManualClock) -> None:
    """Time spent on earlier tries, before the token was asked for, takes nothing off its life."""
    clock.advance(12)
    cached = _hold_issued(issue(lifetime=10.0, elapsed=12.1), clock)

    assert cached.lifetime == 10
    assert cached.remaining(clock) == 10


def test_hold_record(
    record: Callable[..., TokenRecord], clock: ManualClock, policy: RenewalPolicy
) -> None:
    """What a store had is held at the age that it has, and known to be shared."""
    stored = record(age=600.0, refresh_lifetime=7200.0, refresh_spent=True)
    cached = from_record(stored, clock=clock, policy=policy, jitter=0.0)
    clock.advance(10)

    assert cached.age(clock) == 610
    assert cached.remaining(clock) == 2990
    assert cached.shared
    assert cached.refresh_spent
    assert cached.refresh_lifetime == 7200
    assert cached.version == "version-1"
    assert not cached.answers_refusal


def test_hold_record_of_one_used_until_refused(
    record: Callable[..., TokenRecord], clock: ManualClock, policy: RenewalPolicy
) -> None:
    """A token without a credible end stays one after a store had it."""
    cached = from_record(record(lifetime=0.0), clock=clock, policy=policy, jitter=0.0)

    assert cached.remaining(clock) == math.inf


@given(
    age=st.floats(0, 1e6),
    lifetime=st.floats(-1e3, 1e6),
    refresh_lifetime=st.none() | st.floats(-1e3, 1e6),
    jump=st.floats(-1e6, 1e6),
)
def test_records_round_trip(
    age: float, lifetime: float, refresh_lifetime: float | None, jump: float
) -> None:
    """What is recorded and held again, on a machine with another clock, is the same."""
    here, there = ManualClock(), ManualClock(start=1_800_000_000.0 + jump)
    token = Token(jwt=Secret("j"), refresh_token=Secret("r"))
    issued = Issued(
        token=token,
        lifetime=lifetime,
        refresh_lifetime=refresh_lifetime,
        requested_at=here.monotonic(),
        elapsed=0.0,
    )
    cached = _hold_issued(issued, here)
    here.advance(age)
    record = cached.record(here)
    again = from_record(record, clock=there, policy=RenewalPolicy(), jitter=0.0)

    assert again.token == token
    assert again.version == cached.version
    assert again.schedule == cached.schedule
    assert again.age(there) == pytest.approx(cached.age(here), abs=1e-3)
    assert again.refresh_lifetime == cached.refresh_lifetime
    assert record.refresh_spent is False
