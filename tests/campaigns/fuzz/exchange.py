"""Whole answers through `HttpExchange`, from a server in memory."""

from __future__ import annotations

import itertools
import math

from typing import TYPE_CHECKING, Final, final

import attrs
import httpx

from taxizer_async import Credentials, RenewalPolicy, Secret
from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.exchange import (
    Issued,
    Malformed,
    Misconfigured,
    Refused,
    RetryBudget,
    Unavailable,
)
from taxizer_async._http.token_endpoints import HttpExchange
from taxizer_async._http.urls import parse_base_url
from taxizer_async._token.failures import Failure
from taxizer_async.testing import ManualClock
from tests.campaigns.fuzz.campaign import Target, always
from tests.campaigns.fuzz.codec import check_token
from tests.campaigns.fuzz.headers import NOW
from tests.campaigns.fuzz.replies import Reply, Server, reply
from tests.campaigns.fuzz.verdict import CANARY, judge, require, shows_canary


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._core.exchange import Outcome
    from tests.campaigns.fuzz.draw import Draw


_POLICY: Final = RenewalPolicy()
#: For answers that never end: what they may take.
_HASTE: Final = RenewalPolicy(attempt_timeout=0.02, connect_timeout=0.02)
#: That, for a machine that is busy.
_SHORT: Final = 0.2


@attrs.frozen(kw_only=True)
class Asked:
    """
    One call of an exchange.

    Attributes:
        refreshes: Whether it is a refresh, and not a Connect.
        secret: What is sent: a refresh token or a clientSecret.
        attempts: After how many that failed no more are wanted; a refresh makes one anyway.
        replies: What is answered to them.
        hasty: Whether little time is given, as an answer may have no end.
    """

    refreshes: bool
    secret: str
    attempts: int
    replies: tuple[Reply, ...]
    hasty: bool


def _draw_asked(draw: Draw) -> Asked:
    replies = tuple(reply(draw) for _ in range(draw.few()))
    return draw_asked(draw, replies, hasty=any(each.hangs for each in replies))


def draw_asked(draw: Draw, replies: tuple[Reply, ...], *, hasty: bool) -> Asked:
    """Return a call that *replies* answer."""
    return Asked(
        refreshes=draw.chance(0.4),
        secret=CANARY + draw.text(),
        attempts=draw.pick((1, 2, 4)),
        replies=replies,
        hasty=hasty,
    )


@final
class Caller:
    """Makes one call at *base_url*, and judges what comes of it."""

    def __init__(
        self, base_url: str, asked: Asked, http_client: Callable[[], httpx.AsyncClient] | None
    ) -> None:
        self._asked = asked
        self._clock = ManualClock(autojump=True)
        self._exchange = HttpExchange(
            base_url=parse_base_url(base_url),
            policy=_HASTE if asked.hasty else _POLICY,
            clock=self._clock,
            random=lambda: 0.5,
            library=HTTPX,
            http_client=http_client,
        )

    async def call(self) -> str:
        """Call, and judge."""
        seconds = _SHORT if self._asked.hasty else _POLICY.exchange_timeout
        failed = itertools.count(1)
        budget = RetryBudget(
            deadline=self._clock.monotonic() + seconds,
            wants_more=lambda: next(failed) < self._asked.attempts,
        )
        secret = Secret(self._asked.secret)
        if self._asked.refreshes:
            outcome = await self._exchange.refresh(secret, budget)
        else:
            pair = Credentials("app", secret)
            outcome = await self._exchange.connect(pair, budget)
        return self._judge(outcome)

    def _judge(self, outcome: Outcome) -> str:
        require(not shows_canary(outcome), "no secret is seen in an outcome")
        kind = type(outcome).__name__
        if isinstance(outcome, Issued):
            _check_issued(outcome)
            return kind
        require(isinstance(outcome, (Refused, Unavailable, Malformed, Misconfigured)), "typed")
        judge(_failure(outcome).error())
        after = outcome.retry_after if isinstance(outcome, Unavailable) else None
        require(after is None or after >= 0, "Retry-After is no time that has gone by")
        return kind


def _check_issued(issued: Issued) -> None:
    check_token(issued.token)
    for life in (issued.lifetime, issued.refresh_lifetime):
        require(life is None or math.isfinite(life), "a life has an end")
    require(math.isfinite(issued.elapsed), "what an exchange took is a number")


def _failure(cause: Refused | Unavailable | Malformed | Misconfigured) -> Failure:
    return Failure(
        cause=cause,
        endpoint="https://api.example/v1/Auth/Connect",
        until=0.0,
        retry_at=NOW,
        rejected=None,
        rejected_until=0.0,
        ahead_of_need=False,
    )


async def _feed_asked(asked: Asked) -> str:
    server = Server(*asked.replies)
    caller = Caller(
        "https://api.example", asked, lambda: httpx.AsyncClient(transport=server, trust_env=False)
    )
    kind = await caller.call()
    wanted = 1 if asked.refreshes else asked.attempts
    require(server.asked <= wanted, "no more requests are made than are wanted")
    require(server.stopped_in_time, f"a body is not read on, as {server.pulled:,} bytes were")
    if asked.replies[0].pristine and not asked.hasty:
        require(kind == "Issued", "a good answer is a token")
    return kind


EXCHANGE: Final = (
    Target(
        "exchange",
        0.08,
        _draw_asked,
        always(_feed_asked),
        {"Issued", "Refused", "Unavailable", "Malformed"},
        on_loop=True,
    ),
)
