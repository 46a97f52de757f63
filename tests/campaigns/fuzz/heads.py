"""Values of headers, as the readers of headers and the rules of the policy take them."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Any, Final

import attrs

from taxizer_async._core.policy import RenewalPolicy, time_of_sending
from taxizer_async._http.headers import lacks_scope, parse_http_date, parse_retry_after
from tests.campaigns.fuzz import headers
from tests.campaigns.fuzz.campaign import Target, always
from tests.campaigns.fuzz.headers import NOW
from tests.campaigns.fuzz.verdict import judge, require


if TYPE_CHECKING:
    from tests.campaigns.fuzz.draw import Draw


_POLICY: Final = RenewalPolicy()
_LIMIT: Final = _POLICY.retry_after_limit
_FIELDS: Final = tuple(field.name for field in attrs.fields(RenewalPolicy))
_NUMBERS: Final[tuple[Any, ...]] = (
    *(0, 1, -1, 2, 0.5, 1e-9, 1e-320, 1e10, 1e11, 1e308, 10**400, -(10**400), math.nan, math.inf),
    *(True, None, "1", b"1", 1j, [], 30.0, 5.0, 3),
)


async def _feed_retry_after(value: str) -> str:
    seconds = parse_retry_after(value, now=NOW)
    if seconds is None:
        return "None"
    require(seconds >= 0, "Retry-After is no time that has gone by")
    for attempt in (1, 4):
        wait = _POLICY.retry_wait(attempt, 0.5, seconds)
        require(0 < wait <= _LIMIT, "a wait between tries has a bound")
        outage = _POLICY.outage_wait(attempt, seconds)
        require(0 < outage <= _LIMIT, "an outage is remembered for no longer than its bound")
    return "seconds"


async def _feed_date(value: str) -> str:
    moment = parse_http_date(value)
    if moment is None:
        return "None"
    require(math.isfinite(moment), "a date can be reckoned with")
    sent = time_of_sending(NOW + 60, sent_at=NOW, received_at=NOW + 1, server_date=moment)
    require(math.isfinite(sent), "a moment that is reckoned from a date is one")
    return "moment"


async def _feed_challenge(value: str) -> str:
    lacks = lacks_scope(value)
    require(isinstance(lacks, bool), "a challenge lacks scope or does not")
    require(not lacks or "insufficient_scope" in value.lower(), "scope lacks only if that is said")
    return str(lacks)


def _draw_policy(draw: Draw) -> dict[str, Any]:
    return {draw.pick(_FIELDS): draw.pick(_NUMBERS) for _ in range(draw.few())}


async def _feed_policy(given: dict[str, Any]) -> str:
    try:
        policy = RenewalPolicy(**given)
    except Exception as error:  # noqa: BLE001 - judged
        return judge(error)
    for lifetime in (-1e308, 0.0, 1e-9, 1.0, 3600.0, 1e308):
        schedule = policy.schedule(lifetime, 0.5)
        for age in (0.0, 1.0, 1e308):
            schedule.freshness(age)
        require(not math.isnan(schedule.keep_fresh_after(1.0)), "when to renew is a number")
    for attempt in (1, 70, 10**6):
        wait = policy.retry_wait(attempt, 0.5, math.inf)
        require(0 <= wait < math.inf, "a wait between tries has an end")
        outage = policy.outage_wait(attempt, math.inf)
        require(0 < outage < math.inf, "an outage is remembered for no longer than its bound")
    return "RenewalPolicy"


HEADS: Final = (
    Target("retry-after", 0.1, headers.retry_after, always(_feed_retry_after), {"seconds", "None"}),
    Target("date", 0.1, headers.http_date, always(_feed_date), {"moment", "None"}),
    Target("challenge", 0.05, headers.challenge, always(_feed_challenge), {"True", "False"}),
    Target(
        "policy", 0.02, _draw_policy, always(_feed_policy), {"RenewalPolicy", "ConfigurationError"}
    ),
)
