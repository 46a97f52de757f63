from __future__ import annotations

from typing import Any

import attrs
import pytest

from taxizer_async import ConfigurationError, RenewalPolicy


COUNTS = ["unauthorized_budget"]
DURATIONS = [f.name for f in attrs.fields(RenewalPolicy) if f.name not in COUNTS]

#: The values of DESIGN.md and the docstrings.
DEFAULTS = {
    "renew_ahead": 300.0,
    "must_renew": 30.0,
    "unknown_lifetime": 300.0,
    "refused_interval": 30.0,
    "unauthorized_budget": 3,
    "unauthorized_window": 30.0,
    "exchange_timeout": 30.0,
    "retry_after_limit": 30.0,
    "rejected_for": 60.0,
    "outage_backoff": 1.0,
    "outage_backoff_limit": 5.0,
    "refresh_passed_over": 60.0,
    "refresh_distrusted": 600.0,
    "lease_poll": 0.01,
}


def _changed(**changes: Any) -> RenewalPolicy:
    return RenewalPolicy(**changes)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    """The defaults are the documented ones."""
    assert getattr(RenewalPolicy(), name) == DEFAULTS[name]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0.001, 1, 1e9], ids=repr)
def test_durations(name: str, value: float) -> None:
    """A duration is any number above 0, whole or not."""
    assert getattr(_changed(**{name: value}), name) == value


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize(
    "value", [0, 0.0, -1, -0.5, 1e11, float("inf"), float("-inf"), float("nan")], ids=repr
)
def test_durations_are_within_bounds(name: str, value: float) -> None:
    """A duration that is 0, negative, infinite or not a number is refused by name."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be .*above 0"):
        _changed(**{name: value})


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [None, "5", True, [5], 5j], ids=repr)
def test_durations_are_numbers(name: str, value: object) -> None:
    """A duration of another type is refused by name and type."""
    kind = type(value).__name__
    with pytest.raises(ConfigurationError, match=f"^{name} must be a number, not {kind}$"):
        _changed(**{name: value})


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 10**5000], ids=["1e400", "-1e400", "1e5000"]
)
def test_durations_fit_a_float(value: int) -> None:
    """A whole number that is too large for a clock is refused like other wrong values."""
    with pytest.raises(ConfigurationError, match=r"^renew_ahead must be .*above 0"):
        RenewalPolicy(renew_ahead=value)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, None, "3"], ids=repr)
def test_counts(name: str, value: object) -> None:
    """A count is a whole number of at least 1."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be a whole number of at least 1"):
        _changed(**{name: value})
    assert getattr(_changed(**{name: 7}), name) == 7


def test_is_a_value() -> None:
    """Equal policies are equal and hash alike, and none can be changed."""
    assert RenewalPolicy(unauthorized_budget=2) == RenewalPolicy(unauthorized_budget=2)
    assert hash(RenewalPolicy()) == hash(RenewalPolicy())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RenewalPolicy().unauthorized_budget = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("attempt", "jitter", "retry_after", "wait"),
    [
        pytest.param(1, 0.0, None, 0.25, id="first"),
        pytest.param(2, 0.0, None, 0.5, id="second doubles"),
        pytest.param(3, 0.0, None, 1.0, id="third doubles again"),
        pytest.param(5, 0.0, None, 4.0, id="the longest"),
        pytest.param(6, 0.0, None, 4.0, id="no longer one"),
        pytest.param(10**9, 0.0, None, 4.0, id="however many there were"),
        pytest.param(1, 0.5, None, 0.1875, id="jitter shortens"),
        pytest.param(10, 0.5, None, 3.0, id="the longest, too"),
        pytest.param(1, 0.0, 7.0, 7.0, id="the server's wish"),
        pytest.param(1, 0.0, 300.0, 30.0, id="a wish is cut short"),
        pytest.param(1, 0.0, float("inf"), 30.0, id="an endless wish is cut short"),
        pytest.param(1, 0.0, 0.0, 0.25, id="a wish for less is not met"),
        pytest.param(4, 0.0, 1.0, 2.0, id="nor one below our own wait"),
    ],
)
def test_retry_wait(attempt: int, jitter: float, retry_after: float | None, wait: float) -> None:
    """The wait between attempts doubles, has jitter, and honours `Retry-After` within limits."""
    assert RenewalPolicy().retry_wait(attempt, jitter, retry_after) == wait


@pytest.mark.parametrize("attempt", [1, 2, 9])
def test_a_long_backoff_stays(attempt: int) -> None:
    """A first wait above the usual maximum is not shortened, and does not grow."""
    assert RenewalPolicy(backoff=6.0).retry_wait(attempt, 0.0, None) == 6.0


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0), (10**9, 5.0)]
)
def test_outage_wait(failures: int, wait: float) -> None:
    """An outage is remembered for 1 s, doubling up to 5 s, however many there are."""
    assert RenewalPolicy().outage_wait(failures, None) == wait


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(0.0, 2.0), (5.0, 5.0), (30.0, 30.0), (3600.0, 30.0)]
)
def test_outage_wait_honours_the_server(retry_after: float, wait: float) -> None:
    """`Retry-After` lengthens how long an outage is remembered, up to its limit."""
    assert RenewalPolicy().outage_wait(2, retry_after) == wait


@pytest.mark.parametrize(
    ("remaining", "last_elapsed", "seconds"),
    [
        (60.0, 0.5, 30.0),
        (2.0, 0.5, 1.5),
        (0.0, 0.5, 1.5),
        (0.0, 60.0, 10.0),
        (60.0, 0.0, 30.0),
        (2.0, 0.0, 10.0),
        (float("inf"), 0.5, float("inf")),
    ],
    ids=[
        "half",
        "near its end",
        "at its end",
        "a slow server",
        "unknown",
        "unknown and near",
        "endless",
    ],
)
def test_follower_timeout(remaining: float, last_elapsed: float, seconds: float) -> None:
    """A caller waits half of the remaining life, or as long as a healthy exchange takes if that is more."""
    assert RenewalPolicy().follower_timeout(remaining, last_elapsed) == seconds
