"""Values of headers, good and spoilt."""

from __future__ import annotations

from typing import Final

from tests.campaigns.fuzz.draw import TEXTS, Draw
from tests.campaigns.fuzz.verdict import CANARY


#: The time that all dates are drawn around, in epoch seconds: January 2027.
NOW: Final = 1_800_000_000.0

_DAYS: Final = ("Mon", "Tue", "Sunday", "Xyz", "")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Dec", "jan", "Foo", "")
_ZONES: Final = ("GMT", "UTC", "+0000", "-0000", "+0200", "-9999", "EST", "Z", "", "+99999", "(x)")
_FRACTIONS: Final = ("", ".", ".7", ".789", ".1234567", ".123456789", ".1234567890")
_OFFSETS: Final = ("", "Z", "z", " Z", "+00:00", "-14:00", "+0530", "+99:99", "-99:99", "+1", "GMT")
_ENDS_OF_TIME: Final = (
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00+03:00",
    "9999-12-31T23:59:59.9999999",
    "9999-12-31T23:59:59-14:00",
    "0000-00-00T00:00:00Z",
)
_CHALLENGES: Final = (
    "Bearer",
    'Bearer error="invalid_token"',
    'Bearer realm="api", error="insufficient_scope", scope="invoices"',
    "bearer ERROR = Insufficient_Scope",
    f'Bearer error="invalid_token", error_description="{CANARY} \\"insufficient_scope\\""',
    'Basic realm="x", Bearer error=insufficient_scope',
    "Negotiate YII=",
)
_JUNK_NAMES: Final = (
    *("Location", "Set-Cookie", "Content-Type", "Content-Length", "Transfer-Encoding", "Link"),
    *("Connection", "Trailer", "Refresh", "Alt-Svc", "Authorization", "X-Request-Id", "Age"),
)
_JUNK_VALUES: Final = (
    *("//[", "https://xn--a/", "https://elsewhere.example/", "http://\x00", "/%zz", "mailto:x"),
    *("a=b; expires=Thu, 99 Xyz 99999; max-age=9e99", "=; path", "text/html; charset=cnry"),
    *("chunked", "-1", "close", "gzip, br", f"Bearer {CANARY}"),
)


def _digits(draw: Draw, low: int, high: int, width: int = 2) -> str:
    if draw.chance(0.05):
        return draw.pick(("", "0", "99", "-1", "1000000", "9" * 25))
    return f"{low + draw.below(high - low + 1):0{width}}"


def _time(draw: Draw) -> str:
    return ":".join((_digits(draw, 0, 24), _digits(draw, 0, 60), _digits(draw, 0, 60)))


def timestamp(draw: Draw) -> str:
    """Return an expiry as the API writes it, mostly in the future."""
    if draw.chance(0.05):
        return draw.text()
    if draw.chance(0.08):
        return draw.pick(_ENDS_OF_TIME)
    date = "-".join((_digits(draw, 2026, 2033, 4), _digits(draw, 1, 12), _digits(draw, 1, 29)))
    end = draw.pick(_FRACTIONS) + draw.pick(_OFFSETS)
    text = f"{date}{draw.pick('TTTt ')}{_time(draw)}{end}"
    return draw.spoil(text) if draw.chance(0.3) else text


def http_date(draw: Draw) -> str:
    """Return a date in one of HTTP's forms."""
    if draw.chance(0.05):
        return draw.text()
    day, month, zone = draw.pick(_DAYS), draw.pick(_MONTHS), draw.pick(_ZONES)
    number, year = _digits(draw, 1, 31), _digits(draw, 2026, 2028, 4)
    text = draw.pick(
        (
            f"{day}, {number} {month} {year} {_time(draw)} {zone}",
            f"{day}, {number}-{month}-{year[2:]} {_time(draw)} {zone}",
            f"{day} {month} {number:>2} {_time(draw)} {year}",
            f"Fri, 15 Jan 2027 08:00:{number} GMT",
        )
    )
    return draw.spoil(text) if draw.chance(0.3) else text


def retry_after(draw: Draw) -> str:
    """Return seconds or a date."""
    kind = draw.below(10)
    if kind < 3:
        return http_date(draw)
    if kind == 3:
        return draw.text()
    text = draw.pick(
        (
            f"{_digits(draw, 0, 200, 1)}",
            f"{draw.random.random() * 100:.3f}",
            f"{_digits(draw, 0, 60, 1)}, {_digits(draw, 0, 60, 1)}",
            f" {_digits(draw, 0, 60, 1)}, {http_date(draw)}",
            "9" * draw.pick((20, 310, 5000)),
            CANARY,
        )
    )
    return draw.spoil(text) if draw.chance(0.3) else text


def challenge(draw: Draw) -> str:
    """Return the challenge of a 401."""
    if draw.chance(0.1):
        return draw.text()
    text = draw.pick(_CHALLENGES)
    if draw.chance(0.1):
        text = ", ".join([text] * draw.pick((2, 50))) + "error =" * draw.pick((1, 200)) + " " * 500
    return draw.spoil(text) if draw.chance(0.4) else text


def stray(draw: Draw) -> tuple[str, str]:
    """Return a header that the package does not read."""
    name = draw.pick(_JUNK_NAMES)
    value = draw.pick(_JUNK_VALUES) if draw.chance(0.7) else draw.text()
    return name, draw.pick(TEXTS) + value if draw.chance(0.1) else value


def known(draw: Draw) -> list[tuple[str, str]]:
    """Return headers that the package reads, one of them perhaps twice."""
    drawn = [("Date", http_date), ("Retry-After", retry_after), ("WWW-Authenticate", challenge)]
    found = [(name, make(draw)) for name, make in drawn if draw.chance(0.5)]
    if found and draw.chance(0.05):
        found.append((found[0][0], draw.text()))
    return found
