from __future__ import annotations

import re

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from taxizer_async.testing import Sandbox
from taxizer_async.testing._sandbox.tokens import TimestampStyle

from .caller import Caller, fields


def test_an_expired_jwt_is_refused(sandbox: Sandbox, caller: Caller) -> None:
    """An expired JWT is refused, whatever the server's clock says."""
    sandbox.lifetime, sandbox.clock_offset = 1e-9, 86400

    assert caller.register(caller.jwt()).status_code == 401


@pytest.mark.parametrize("style", ["unset", "null", "missing"])
def test_an_odd_expiry_leaves_the_jwt_good(
    sandbox: Sandbox, caller: Caller, style: TimestampStyle
) -> None:
    """A JWT without a stated expiry is good for an hour, however short the lifetime."""
    sandbox.timestamp_style, sandbox.lifetime = style, 1e-9

    assert caller.register(caller.jwt()).status_code == 200


def test_a_jwt_that_is_stated_as_expired_is_good(sandbox: Sandbox, caller: Caller) -> None:
    """With a negative lifetime the stated expiry has passed, and the JWT is good."""
    sandbox.lifetime = -60
    token = caller.token()

    assert datetime.fromisoformat(token["jwtTokenExpireAtUTC"]) < datetime.now(UTC)
    assert caller.register(token["jwtToken"]).status_code == 200


@pytest.mark.parametrize(
    ("style", "shape", "utc_offset"),
    [
        ("iso-z-ms", r"T..:..:..\.\d{3}Z", 0),
        ("iso-z-us", r"T..:..:..\.\d{6}Z", 0),
        ("dotnet-7", r"T..:..:..\.\d{7}Z", 0),
        ("naive-7", r"T..:..:..\.\d{7}", 0),
        ("naive-s", r"T..:..:..", 0),
        ("offset", r"T..:..:..\.\d{3}\+02:00", 2),
        ("space", r" ..:..:..\.\d{3}Z", 0),
        ("lower-z", r"T..:..:..\.\d{3}z", 0),
    ],
)
def test_a_timestamp_style_tells_the_same_moment(
    sandbox: Sandbox, caller: Caller, style: TimestampStyle, shape: str, utc_offset: int
) -> None:
    """Each style has its format, and states when the JWT expires."""
    sandbox.timestamp_style = style
    text = caller.token()["jwtTokenExpireAtUTC"]
    local = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    left = local - timedelta(hours=utc_offset) - datetime.now(UTC)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d" + shape, text)
    assert 890 < left.total_seconds() <= 900


def test_a_date_can_be_unset_null_or_missing(sandbox: Sandbox, caller: Caller) -> None:
    """Both expiries can be year 1, null, or missing."""
    names = ("jwtTokenExpireAtUTC", "refreshTokenExpireAtUTC")
    sandbox.timestamp_style = "unset"
    unset = caller.token()
    sandbox.timestamp_style = "null"
    null = caller.token()
    sandbox.timestamp_style = "missing"
    missing = caller.token()

    assert [unset[name] for name in names] == ["0001-01-01T00:00:00"] * 2
    assert [null[name] for name in names] == [None] * 2
    assert not set(names) & set(missing)


def test_an_unknown_timestamp_style_is_refused(sandbox: Sandbox) -> None:
    """A misspelt style is an error where it is set, not in a request."""
    with pytest.raises(ValueError, match="timestamp_style"):
        sandbox.timestamp_style = "iso"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_clock_offset_moves_date_and_expiry(sandbox: Sandbox, caller: Caller) -> None:
    """A clock offset shifts the Date header and the timestamps alike."""
    sandbox.clock_offset = 7200
    answer = caller.connect()
    date = parsedate_to_datetime(answer.headers["Date"])
    expiry = datetime.fromisoformat(fields(answer)["jwtTokenExpireAtUTC"])

    assert 7190 < (date - datetime.now(UTC)).total_seconds() <= 7200
    assert 899 <= (expiry - date).total_seconds() <= 901


def test_the_date_header_can_be_left_out(sandbox: Sandbox, caller: Caller) -> None:
    """With send_date off, no answer carries a Date header."""
    assert "Date" in caller.connect().headers

    sandbox.send_date = False

    assert "Date" not in caller.connect().headers
