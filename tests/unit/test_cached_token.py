from __future__ import annotations

import math

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import RenewalPolicy, Secret, Token
from taxizer_async._core.exchange import Issued
from taxizer_async._token.cached_token import CachedToken, from_issued, from_record
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.tokens import make_cached, make_issued, make_record


def _from_issued(
    issued: Issued, clock: ManualClock, *, answers_refusal: bool = False, by_refresh: bool = False
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


@pytest.mark.parametrize("jump", [0.0, 3600.0, -86_400.0])
def test_age(clock: ManualClock, jump: float) -> None:
    """The age counts from when the token was asked for, whatever happens to the wall clock."""
    cached = make_cached()
    clock.advance(10)
    clock.jump(jump)

    assert cached.age(clock) == 10


def test_age_is_never_negative(clock: ManualClock) -> None:
    """A token asked for in the future has age 0."""
    cached = make_cached(requested_at=clock.monotonic() + 5)

    assert cached.age(clock) == 0


def test_remaining(clock: ManualClock) -> None:
    """The rest of a life shrinks to 0 and below; a token used until refused never ends."""
    cached, undying = make_cached(lifetime=100.0), make_cached(lifetime=0.0)
    clock.advance(130)

    assert cached.remaining(clock) == -30
    assert undying.remaining(clock) == math.inf
    ends_at = cached.requested_at + 100
    assert (cached.is_over(ends_at - 0.1), cached.is_over(ends_at)) == (False, True)
    assert not undying.is_over(ends_at)


@pytest.mark.parametrize("refused", [False, True])
def test_can_wait_for_store(*, clock: ManualClock, refused: bool) -> None:
    """A renewal waits for a store that is down for half of the time ahead of need, unless the token was refused."""
    cached = make_cached(refused=refused)
    half = (cached.schedule.renew_after + cached.schedule.must_after) / 2
    clock.advance(half - 1)
    assert cached.can_wait_for_store(clock) is not refused
    clock.advance(1)

    assert not cached.can_wait_for_store(clock)


def test_its_header_is_made_once_and_not_shown() -> None:
    """A change of the token keeps the header's value, which its `repr` does not show."""
    cached = make_cached()
    spent = attrs.evolve(cached, refresh_spent=True)

    assert spent.mark is cached.mark
    assert spent.authorization == cached.authorization == "Bearer jwt-1"
    assert "jwt-1" not in repr(cached)


def test_same_token() -> None:
    """Two tokens are the same if their JWTs are equal."""
    assert make_cached("1").same_token(make_cached("1", version="another", refused=True))
    assert not make_cached("1").same_token(make_cached("2"))
    assert not make_cached("1").same_token(None)


@pytest.mark.parametrize(
    ("refresh_lifetime", "seconds", "refreshable"),
    [(None, 1e9, True), (100.0, 99, True), (100.0, 100, False), (0.0, 0, False), (-5.0, 0, False)],
)
def test_refreshable(
    clock: ManualClock, refresh_lifetime: float | None, seconds: float, refreshable: bool
) -> None:
    """A refresh token is good until its own end, or for ever if that is unknown."""
    cached = make_cached(refresh_lifetime=refresh_lifetime)
    clock.advance(seconds)

    assert cached.refreshable(clock) is refreshable


def test_refreshable_in_other_respects(clock: ManualClock) -> None:
    """A token without a refresh token, or with a spent one, can't be refreshed; a refused one can."""
    assert not make_cached(refresh_spent=True).refreshable(clock)
    assert not make_cached(token=Token(jwt=Secret("j"))).refreshable(clock)
    assert make_cached(refused=True).refreshable(clock)


def test_from_issued(clock: ManualClock) -> None:
    """An issued token has lived since it was asked for."""
    issued = make_issued()
    cached = _from_issued(issued, clock, answers_refusal=True, by_refresh=True)
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


def test_from_issued_after_retries(clock: ManualClock) -> None:
    """Time spent on earlier tries takes nothing off the life of a token."""
    clock.advance(12)
    issued = make_issued(lifetime=10.0, elapsed=12.1, requested_at=clock.monotonic())
    cached = _from_issued(issued, clock)

    assert cached.lifetime == 10
    assert cached.remaining(clock) == 10


def test_from_record(clock: ManualClock, policy: RenewalPolicy) -> None:
    """A record becomes a shared token of the same age."""
    stored = make_record(age=600.0, refresh_lifetime=7200.0, refresh_spent=True)
    cached = from_record(stored, clock=clock, policy=policy, jitter=0.0)
    clock.advance(10)

    assert cached.age(clock) == 610
    assert cached.remaining(clock) == 2990
    assert cached.shared
    assert cached.refresh_spent
    assert cached.refresh_lifetime == 7200
    assert cached.version == "version-1"
    assert not cached.answers_refusal


@given(
    age=st.floats(0, 1e6),
    lifetime=st.floats(-1e3, 1e6),
    refresh_lifetime=st.none() | st.floats(-1e3, 1e6),
    jump=st.floats(-1e6, 1e6),
)
def test_records_round_trip(
    age: float, lifetime: float, refresh_lifetime: float | None, jump: float
) -> None:
    """A token survives its record, on a machine with another clock."""
    here, there = ManualClock(), ManualClock(start=1_800_000_000.0 + jump)
    token = Token(jwt=Secret("j"), refresh_token=Secret("r"))
    issued = Issued(
        token=token,
        lifetime=lifetime,
        refresh_lifetime=refresh_lifetime,
        requested_at=here.monotonic(),
        elapsed=0.0,
    )
    cached = _from_issued(issued, here)
    here.advance(age)
    record = cached.record(here)
    again = from_record(record, clock=there, policy=RenewalPolicy(), jitter=0.0)

    assert again.token == token
    assert again.version == cached.version
    assert again.schedule == cached.schedule
    assert again.age(there) == pytest.approx(cached.age(here), abs=1e-3)
    assert again.refresh_lifetime == cached.refresh_lifetime
    assert record.refresh_spent is False
