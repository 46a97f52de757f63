"""Pure readings of HTTP header values: none raises, whatever the server wrote."""

from __future__ import annotations

import re

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final


# Compiled at first use, by re's own cache, as imports should not pay for it.
_SECONDS: Final = r"(?as)\s*(\d+(?:\.\d*)?)\s*(?:,.*)?"
_SCOPE_ERROR: Final = r'(?i)\berror\s*=\s*"?insufficient_scope\b'


def parse_http_date(value: str | None) -> float | None:
    """Return the epoch seconds of an HTTP date such as `Date`'s; None if it is not one."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """
    Return the seconds that `Retry-After` asks for; None if it says nothing that can be read.

    Args:
        value: Seconds (fractions and lists are met in the field: the first counts) or an HTTP date.
        now: The server's time if known, else ours, in epoch seconds.
    """
    if value is None:
        return None
    match = re.fullmatch(_SECONDS, value)
    if match:
        return float(match[1])
    moment = parse_http_date(value)
    return None if moment is None else max(0.0, moment - now)


def lacks_scope(www_authenticate: str | None) -> bool:
    """Say whether a challenge is about rights that a new token would lack as well (RFC 6750, 3.1)."""
    return www_authenticate is not None and bool(re.search(_SCOPE_ERROR, www_authenticate))
