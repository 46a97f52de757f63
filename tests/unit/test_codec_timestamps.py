from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async._core.codec import parse_timestamp


NOON = datetime(2024, 9, 15, 12, 28, 18, tzinfo=UTC)
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

ZONES = {
    "none": ("", timedelta()),
    "Z": ("Z", timedelta()),
    "z": ("z", timedelta()),
    "+00:00": ("+00:00", timedelta()),
    "-00:00": ("-00:00", timedelta()),
    "+02:00": ("+02:00", timedelta(hours=2)),
    "-05:30": ("-05:30", timedelta(hours=-5, minutes=-30)),
    "+0545": ("+0545", timedelta(hours=5, minutes=45)),
    "a blank before Z": (" Z", timedelta()),
    "a blank before an offset": (" +03:00", timedelta(hours=3)),
}


@pytest.mark.invariant(12)
@pytest.mark.report(58, 59, 62)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("separator", ["T", "t", " "])
@pytest.mark.parametrize("digits", range(10))
def test_forms(digits: int, separator: str, zone: str) -> None:
    """0 to 9 fractional digits, any separator and any zone are read (reports 58, 59)."""
    suffix, offset = ZONES[zone]
    fraction = "987654321"[:digits]
    point = "." if digits else ""
    text = f"2024-09-15{separator}12:28:18{point}{fraction}{suffix}"
    microsecond = int(fraction.ljust(6, "0")[:6])

    moment = parse_timestamp(text)

    assert moment == NOON.replace(microsecond=microsecond) - offset
    assert moment.tzinfo is UTC


@pytest.mark.report(61)
@pytest.mark.parametrize("suffix", ["", "Z", "+00:00"])
@pytest.mark.usefixtures("machine_zone")
def test_the_machines_zone_does_not_matter(suffix: str) -> None:
    """Without a zone it is UTC, whatever the machine's time zone (report 61)."""
    moment = parse_timestamp(f"2024-09-15T12:28:18{suffix}")

    assert moment is not None
    assert moment.timestamp() == 1_726_403_298.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0001-01-01T00:00:00", EARLIEST),
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("0001-01-01T00:00:00+02:00", EARLIEST),
        ("0001-01-01T00:00:00-02:00", EARLIEST + timedelta(hours=2)),
        ("9999-12-31T23:59:59.9999999", LATEST),
        ("9999-12-31T23:59:59.9999999Z", LATEST),
        ("9999-12-31T23:59:59.9999999-02:00", LATEST),
        ("9999-12-31T23:59:59+02:00", LATEST.replace(microsecond=0) - timedelta(hours=2)),
    ],
)
def test_the_ends_of_time(text: str, moment: datetime) -> None:
    """The first and the last year are read, and an offset beyond them stops there."""
    assert parse_timestamp(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "1726403298", "2024-09-15", "12:28:18", "2024-09-15T12:28"),
        *("2024-09-15T12:28Z", "2024-9-15T12:28:18Z", "24-09-15T12:28:18Z", "2024-09-15_12:28:18Z"),
        *("2024-09-15T12:28:18,5Z", "2024-09-15T12:28:18.1234567890Z", "2024-09-15T12:28:18ZZ"),
        *("2024-09-15T12:28:18+02", "2024-09-15T12:28:18+2:00", "2024-09-15T12:28:18 GMT"),
        *("Sun, 15 Sep 2024 12:28:18 GMT", "0000-01-01T00:00:00Z", "2024-00-15T12:28:18Z"),
        *("2024-13-15T12:28:18Z", "2023-02-29T12:28:18Z", "2024-09-15T25:28:18Z"),
        *("2024-09-15T12:60:18Z", "2024-09-15T12:28:61Z", "2024-09-15T12:28:18Z\x00"),
        "\u0662\u0660\u0662\u0664-\u0660\u0669-\u0661\u0665T\u0661\u0662:\u0662\u0668:\u0661\u0668Z",
    ],
    ids=ascii,
)
def test_junk(text: str) -> None:
    """Anything that is not a full timestamp is None."""
    assert parse_timestamp(text) is None


def test_blanks_around_are_ignored() -> None:
    """Blanks around a timestamp are ignored."""
    assert parse_timestamp(" 2024-09-15T12:28:18Z\r\n") == NOON


OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda d: timezone(timedelta(minutes=d // timedelta(minutes=1)))
)


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS)  # noqa: DTZ001
)
def test_round_trip(moment: datetime) -> None:
    """A moment in any zone, written as ISO 8601, is read as the same moment in UTC."""
    read = parse_timestamp(moment.isoformat())

    assert read == moment
    assert read is not None
    assert read.utcoffset() == timedelta()


@given(st.datetimes())
def test_round_trip_without_a_zone(moment: datetime) -> None:
    """A moment without a zone is read as UTC, with "T" or with a blank."""
    expected = moment.replace(tzinfo=UTC)

    assert parse_timestamp(moment.isoformat()) == expected
    assert parse_timestamp(str(moment)) == expected
