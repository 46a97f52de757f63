from __future__ import annotations

import math

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async._http.headers import lacks_scope, parse_http_date, parse_retry_after


# Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
EPOCH = 784_111_777.0


@pytest.mark.report(74, 75)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("30", 30.0, id="seconds"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("30,120", 30.0, id="a list: the first counts"),
        pytest.param("30, 120", 30.0, id="a list with a blank"),
        pytest.param("30,Sun, 06 Nov 1994 08:49:37 GMT", 30.0, id="a list with a date"),
        pytest.param("0.5", 0.5, id="a fraction"),
        pytest.param("7.", 7.0, id="a bare point"),
        pytest.param("  5\t", 5.0, id="blanks"),
        pytest.param("-1", None, id="negative"),
        pytest.param("+1", None, id="a sign"),
        pytest.param("soon", None, id="a word"),
        pytest.param("", None, id="empty"),
        pytest.param("  ", None, id="blank"),
        pytest.param(",", None, id="a comma"),
        pytest.param("1e309", None, id="an exponent"),
        pytest.param("inf", None, id="inf"),
        pytest.param("nan", None, id="nan"),
        pytest.param("5s", None, id="a unit"),
        pytest.param("٣٠", None, id="digits that are not ASCII"),
        pytest.param("Sun, 06 Nov 1994 08:49:47 GMT", 10.0, id="a date to come"),
        pytest.param("Sun, 06 Nov 1994 08:49:27 GMT", 0.0, id="a date gone by"),
        pytest.param("Sunday, 06-Nov-94 08:49:47 GMT", 10.0, id="a date as in RFC 850"),
        pytest.param("Sun Nov  6 08:49:47 1994", 10.0, id="a date as of asctime"),
        pytest.param("Sun, 06 Nov 1994 10:49:47 +0200", 10.0, id="a date with an offset"),
        pytest.param("Fri, 06 Nov 99999 08:49:37 GMT", None, id="year 99999"),
        pytest.param("Sun, 99 Nov 1994 08:49:37 GMT", None, id="day 99"),
        pytest.param("Sun, 06 Nov 1994 25:61:61 GMT", None, id="hour 25"),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """`Retry-After` is read in each form that servers use, and anything else is None."""
    assert parse_retry_after(value, now=EPOCH) == seconds


def test_a_huge_number_is_endless() -> None:
    """More digits than a float holds give infinity, which the policy limits."""
    assert parse_retry_after("9" * 400, now=EPOCH) == math.inf
    assert parse_retry_after("9" * 10_000, now=EPOCH) == math.inf


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_http_dates_round_trip(moment: datetime) -> None:
    """A date as servers write it is read to the second."""
    aware = moment.replace(microsecond=0, tzinfo=UTC)

    assert parse_http_date(format_datetime(aware, usegmt=True)) == aware.timestamp()


@pytest.mark.usefixtures("machine_zone")
def test_the_machines_zone_does_not_matter() -> None:
    """A date without a zone is UTC, whatever the machine's time zone."""
    assert parse_http_date("Sun Nov  6 08:49:37 1994") == EPOCH
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 -0000") == EPOCH


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "now",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 99999999999 08:49:37 GMT",
        "Sun, 99999999999 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9999",
        "Sun, 06 Nov 1994 08:49:37 +99999999999999999",
    ],
    ids=repr,
)
def test_no_http_date(value: str | None) -> None:
    """Anything that is not a date is None."""
    assert parse_http_date(value) is None


@pytest.mark.parametrize("zone", ["GMT", "UTC", "+0000", "-0000", ""], ids=repr)
def test_http_dates_are_utc(zone: str) -> None:
    """A date is UTC, also if the zone is missing or unknown."""
    assert parse_http_date(f"Sun, 06 Nov 1994 08:49:37 {zone}".strip()) == EPOCH


@pytest.mark.parametrize(
    ("challenge", "lacks"),
    [
        pytest.param(None, False, id="absent"),
        pytest.param("", False, id="empty"),
        pytest.param("Bearer", False, id="bare"),
        pytest.param('Bearer error="invalid_token"', False, id="invalid_token"),
        pytest.param('Bearer error="insufficient_scope"', True, id="quoted"),
        pytest.param("Bearer error=insufficient_scope", True, id="unquoted"),
        pytest.param('bearer ERROR = "Insufficient_Scope"', True, id="case and blanks"),
        pytest.param(
            'Bearer realm="api", error="insufficient_scope", scope="invoices"',
            True,
            id="among others",
        ),
        pytest.param('Bearer error="insufficient_scope_x"', False, id="a longer word"),
        pytest.param('Bearer my_error="insufficient_scope"', False, id="another parameter"),
        pytest.param(
            'Bearer error="invalid_token", error_description="insufficient_scope"',
            False,
            id="only in the description",
        ),
    ],
)
def test_lacks_scope(challenge: str | None, lacks: bool) -> None:
    """A challenge lacks scope exactly when its error says so."""
    assert lacks_scope(challenge) is lacks
