"""The ways in which a server may write a moment down, and nothing but the writing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal, get_args


#: See `timestamp`.
TimestampStyle = Literal[
    "iso-z-ms",
    "iso-z-us",
    "dotnet-7",
    "naive-7",
    "naive-s",
    "offset",
    "space",
    "lower-z",
    "unset",
    "null",
    "missing",
]

TIMESTAMP_STYLES: Final[tuple[str, ...]] = get_args(TimestampStyle)

#: Styles that don't tell when a token ends.
TIMELESS_STYLES: Final = frozenset({"unset", "null", "missing"})

#: How ASP.NET writes a date that was never set.
_UNSET: Final = "0001-01-01T00:00:00"

#: 9999-12-30T00:00:00Z, so that no offset can leave the calendar.
_LAST: Final = 253_402_128_000

_PLUS_TWO: Final = timezone(timedelta(hours=2))

#: Style: separator, digits of the fraction, zone.
_SHAPES: Final[dict[str, tuple[str, int, str]]] = {
    "iso-z-ms": ("T", 3, "Z"),
    "iso-z-us": ("T", 6, "Z"),
    "dotnet-7": ("T", 7, "Z"),
    "naive-7": ("T", 7, ""),
    "naive-s": ("T", 0, ""),
    "offset": ("T", 3, "+02:00"),
    "space": (" ", 3, "Z"),
    "lower-z": ("T", 3, "z"),
}


def timestamp(wall: float, style: TimestampStyle) -> str | None:
    """Write *wall* (Unix seconds) in *style*; None for "null" and "missing"."""
    if style in TIMELESS_STYLES:
        return _UNSET if style == "unset" else None
    separator, digits, zone = _SHAPES[style]
    seconds, fraction = divmod(round(min(max(wall, 0.0), _LAST) * 10**7), 10**7)
    moment = datetime.fromtimestamp(seconds, _PLUS_TWO if style == "offset" else UTC)
    tail = f".{fraction:07d}"[: digits + 1] if digits else ""
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S") + tail + zone
