"""Readers of HTTP header values; none raises, whatever the server sent."""

from __future__ import annotations

import re

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final


# Strings, which `re` compiles and caches at first use, so that imports do not pay for it.
_SECONDS: Final = r"(?as)\s*(\d+(?:\.\d*)?)\s*(?:,.*)?"
_SCOPE_ERROR: Final = r'(?i)\berror\s*=\s*"?insufficient_scope\b'


def parse_http_date(value: str | None) -> float | None:
    """Return the epoch seconds of an HTTP date; None if *value* is not one."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, IndexError, OverflowError):
        return None


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """
    Return the seconds that `Retry-After` asks for; None if it can't be read.

    *now* is the server's time if known, else ours, in epoch seconds.
    """
    if value is None:
        return None
    # Some servers send fractions, or lists, of which the first counts.
    match = re.fullmatch(_SECONDS, value)
    if match:
        return float(match[1])
    moment = parse_http_date(value)
    return None if moment is None else max(0.0, moment - now)


def lacks_scope(www_authenticate: str | None) -> bool:
    """Return whether a challenge asks for rights that a new token would also lack (RFC 6750, 3.1)."""
    return www_authenticate is not None and bool(re.search(_SCOPE_ERROR, www_authenticate))
