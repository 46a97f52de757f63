from __future__ import annotations

import math
import random

from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import RenewalPolicy
from taxizer_async._core.policy import (
    JITTER_SHARE,
    SHORTEST_LIFETIME,
    Freshness,
    RenewalSchedule,
    is_time_for_attempt,
    time_of_sending,
)


NOW = 1_800_000_000.0
DAY = 86_400.0

JITTERS = st.floats(0, 1, exclude_max=True)
LIFETIMES = st.floats(allow_nan=False, allow_infinity=False, max_value=1e12)
POLICIES = st.builds(
    RenewalPolicy,
    renew_ahead=st.floats(0.001, 1e6),
    must_renew=st.floats(0.001, 1e6),
    refused_interval=st.floats(0.001, 1e6),
)


@given(POLICIES, LIFETIMES, JITTERS)
def test_order(policy: RenewalPolicy, lifetime: float, jitter: float) -> None:
    """For any policy and lifetime, a token is renewed ahead, then has to be renewed, then expires."""
    span = policy.schedule(lifetime, jitter)

    assert 0 < span.renew_after <= span.must_after <= span.ends_after


@pytest.mark.report(51, 52)
@given(POLICIES, st.floats(SHORTEST_LIFETIME, 1e12), JITTERS, st.floats(0, 1e6))
def test_renewals_per_lifetime(
    policy: RenewalPolicy, lifetime: float, jitter: float, margin: float
) -> None:
    """No token is renewed before half its life is over: at most 2 per lifetime (reports 51, 52)."""
    span = policy.schedule(lifetime, jitter)

    assert span.renew_after >= lifetime * 0.74
    assert span.keep_fresh_after(margin) >= lifetime / 2


@pytest.mark.parametrize(
    ("lifetime", "renew_after", "must_after"),
    [
        pytest.param(3600.0, 3300.0, 3570.0, id="an hour"),
        pytest.param(86_400.0, 86_100.0, 86_370.0, id="a day"),
        pytest.param(600.0, 450.0, 570.0, id="ten minutes: a quarter"),
        pytest.param(100.0, 75.0, 90.0, id="a quarter and a tenth"),
        pytest.param(1.0, 0.75, 0.9, id="a second"),
        pytest.param(0.5, 0.375, 0.45, id="the shortest"),
    ],
)
def test_lifespan(lifetime: float, renew_after: float, must_after: float) -> None:
    """The documented durations apply, or their share of a short life."""
    assert RenewalPolicy().schedule(lifetime, 0.0) == RenewalSchedule(
        renew_after=renew_after, must_after=must_after, ends_after=lifetime
    )


@pytest.mark.report(53)
@pytest.mark.parametrize("lifetime", [0.49, 0.0, -1.0, -6.3e10, -math.inf])
def test_a_life_too_short_to_be_true(lifetime: float) -> None:
    """A token that is expired on arrival is used until refused, and renewed every 30 s (report 53)."""
    assert RenewalPolicy().schedule(lifetime, 0.5) == RenewalSchedule(
        renew_after=30.0, must_after=math.inf, ends_after=math.inf
    )


def test_an_endless_life() -> None:
    """A token that never ends is never renewed."""
    span = RenewalPolicy().schedule(math.inf, 0.5)

    assert span.freshness(1e300) is Freshness.FRESH
    assert span.ends_after == math.inf


@pytest.mark.report(22)
@pytest.mark.parametrize("lifetime", [1.0, 10.0, 60.0, 900.0, 3600.0, 86_400.0])
def test_a_fleet_spreads(lifetime: float) -> None:
    """The tokens of a hundred processes that expire together are not renewed together (report 22)."""
    draw = random.Random(22).random  # noqa: S311 - no secret
    policy = RenewalPolicy()
    moments = sorted(policy.schedule(lifetime, draw()).renew_after for _ in range(100))
    window = min(policy.renew_ahead, lifetime * 0.25) * JITTER_SHARE

    assert len(set(moments)) == 100
    assert moments[-1] - moments[0] > window * 0.8
    assert moments[-1] < policy.schedule(lifetime, 0.0).must_after


@given(LIFETIMES, JITTERS, JITTERS)
def test_jitter_only_delays(lifetime: float, low: float, high: float) -> None:
    """More jitter never renews earlier, and never changes when the token ends."""
    policy = RenewalPolicy()
    first, last = (policy.schedule(lifetime, jitter) for jitter in sorted((low, high)))

    assert first.renew_after <= last.renew_after
    assert first.must_after == last.must_after
    assert first.ends_after == last.ends_after


@pytest.mark.parametrize(
    ("age", "advice"),
    [
        (-5.0, Freshness.FRESH),
        (0.0, Freshness.FRESH),
        (74.9, Freshness.FRESH),
        (75.0, Freshness.RENEW_AHEAD),
        (89.9, Freshness.RENEW_AHEAD),
        (90.0, Freshness.MUST_RENEW),
        (99.9, Freshness.MUST_RENEW),
        (100.0, Freshness.EXPIRED),
        (math.inf, Freshness.EXPIRED),
    ],
)
def test_advice(age: float, advice: Freshness) -> None:
    """Each freshness begins at its own age."""
    assert RenewalPolicy().schedule(100.0, 0.0).freshness(age) is advice


@pytest.mark.parametrize(
    ("margin", "moment"),
    [
        pytest.param(0.0, 3300.0, id="when it is due"),
        pytest.param(270.0, 3300.0, id="just in time"),
        pytest.param(570.0, 3000.0, id="earlier, as a renewal takes long"),
        pytest.param(1e6, 1800.0, id="but not before half its life"),
    ],
)
def test_keep_after(margin: float, moment: float) -> None:
    """`keep_fresh` starts early enough to be done before callers wait."""
    assert RenewalPolicy().schedule(3600.0, 0.0).keep_fresh_after(margin) == moment


def test_keep_after_of_one_used_until_refused() -> None:
    """`keep_fresh` renews a token that is expired on arrival at the same slow pace."""
    assert RenewalPolicy().schedule(0.0, 0.0).keep_fresh_after(1e6) == 30.0


@given(LIFETIMES, JITTERS, st.floats(0, 1e6))
def test_keep_after_is_never_late(lifetime: float, jitter: float, margin: float) -> None:
    """`keep_fresh` never renews later than a request would."""
    span = RenewalPolicy().schedule(lifetime, jitter)

    assert span.keep_fresh_after(margin) <= span.renew_after


def remaining_life(expires_at: float, **moments: Any) -> float:
    return expires_at - time_of_sending(expires_at, **moments)


@pytest.mark.report(134)
@pytest.mark.parametrize("date", [0.0, NOW - 500 * DAY, NOW + 7 * DAY, 253_402_300_799.0])
def test_an_absurd_date_is_not_believed(date: float) -> None:
    """A `Date` by which the token has expired, or lasts over 400 days, does not replace our clock."""
    remaining = remaining_life(NOW + 3600, sent_at=NOW, received_at=NOW, server_date=date)

    assert remaining == 3600


def test_two_absurd_clocks_give_a_token_that_has_ended() -> None:
    """A token that has expired by both clocks has no time left."""
    assert remaining_life(NOW, sent_at=NOW + 9, received_at=NOW + 9, server_date=NOW + 99) < 0


def test_a_token_without_an_expiry_takes_the_date_as_it_is() -> None:
    """Without an expiry, an absurd `Date` can't be noticed."""
    sent = time_of_sending(None, sent_at=NOW, received_at=NOW, server_date=NOW + DAY)

    assert sent == NOW + DAY


@pytest.mark.report(55, 56)
@pytest.mark.parametrize("offset", [-DAY, -3600.0, 3600.0, DAY])
def test_remaining_life_by_the_servers_clock(offset: float) -> None:
    """A local clock that is far off does not change what is left (reports 55, 56)."""
    ours = NOW + offset

    remaining = remaining_life(
        NOW + 3600, sent_at=ours, received_at=ours + 0.2, server_date=math.floor(NOW + 0.1)
    )

    assert remaining == pytest.approx(3600, abs=1)


@pytest.mark.parametrize("offset", [-2.0, -1.0, 0.0, 1.0, 2.0])
def test_remaining_life_within_the_tolerance(offset: float) -> None:
    """A `Date` within its own precision does not replace our clock."""
    remaining = remaining_life(NOW + 3600, sent_at=NOW, received_at=NOW, server_date=NOW + offset)

    assert remaining == 3600


@pytest.mark.parametrize("offset", [-2.1, 2.1])
def test_remaining_life_beyond_the_tolerance(offset: float) -> None:
    """A `Date` that differs by more than 2 s replaces our clock."""
    remaining = remaining_life(NOW + 3600, sent_at=NOW, received_at=NOW, server_date=NOW + offset)

    assert remaining == pytest.approx(3600 - offset)


def test_a_slow_answer_is_no_wrong_clock() -> None:
    """A `Date` written while the answer was on its way agrees with our clock."""
    remaining = remaining_life(NOW + 3600, sent_at=NOW, received_at=NOW + 20, server_date=NOW + 19)

    assert remaining == 3600


def test_remaining_life_without_a_date() -> None:
    """Without a `Date` our own clock is used."""
    assert remaining_life(NOW + 60, sent_at=NOW, received_at=NOW + 5, server_date=None) == 60


@given(st.floats(-DAY, DAY), st.floats(0, 30), st.floats(60, 1e6))
def test_remaining_life_for_any_clock(offset: float, took: float, lifetime: float) -> None:
    """However wrong our clock, the error is at most the tolerance, or the time the answer took."""
    sent = NOW + offset
    remaining = remaining_life(
        NOW + lifetime,
        sent_at=sent,
        received_at=sent + took,
        server_date=math.floor(NOW + took / 2),
    )

    assert abs(remaining - lifetime) <= max(3.0, took + 3.0)


@pytest.mark.parametrize(
    ("begin", "is_time"), [(0.0, True), (9.9, True), (9.91, False), (10.0, False), (11.0, False)]
)
def test_the_shortest_attempt(begin: float, is_time: bool) -> None:
    """An attempt gets a tenth of a second at least."""
    assert is_time_for_attempt(begin, 10.0) is is_time
