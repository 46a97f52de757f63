"""Whole answers through `HttpExchange`, from a server in memory."""

from __future__ import annotations

import itertools
import math

from typing import Final

import attrs
import httpx

from taxizer_async import Credentials, RenewalPolicy, Secret
from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.exchange import (
    Issued,
    Malformed,
    Misconfigured,
    Outcome,
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
from tests.campaigns.fuzz.draw import Draw
from tests.campaigns.fuzz.headers import NOW
from tests.campaigns.fuzz.replies import Reply, Server, reply
from tests.campaigns.fuzz.verdict import CANARY, judge, require, shows_canary


_POLICY: Final = RenewalPolicy()
#: The policy for answers that never end.
_HASTE: Final = RenewalPolicy(attempt_timeout=0.02, connect_timeout=0.02)
#: Seconds for their refresh, on a busy machine.
_SHORT: Final = 0.2


@attrs.frozen(kw_only=True)
class _Asked:
    """
    One call of an exchange.

    Attributes:
        refreshes: Whether it is a refresh, and not a Connect.
        secret: The refresh token or the clientSecret.
        attempts: Failed attempts after which no more are wanted; a refresh makes one anyway.
        replies: The answers.
    """

    refreshes: bool
    secret: str
    attempts: int
    replies: tuple[Reply, ...]

    @property
    def hasty(self) -> bool:
        """Whether little time is given, as an answer may have no end."""
        return any(each.hangs for each in self.replies)


def _draw_asked(draw: Draw) -> _Asked:
    replies = tuple(reply(draw) for _ in range(draw.few()))
    return _Asked(
        refreshes=draw.chance(0.4),
        secret=CANARY + draw.text(),
        attempts=draw.pick((1, 2, 4)),
        replies=replies,
    )


async def _feed_asked(asked: _Asked) -> str:
    server = Server(*asked.replies)
    kind = _judge(await _ask(asked, server))
    wanted = 1 if asked.refreshes else asked.attempts
    require(server.asked <= wanted, "no more requests are made than are wanted")
    require(server.stopped_in_time, f"a body is not read on, as {server.pulled:,} bytes were")
    if asked.replies[0].pristine and not asked.hasty:
        require(kind == "Issued", "a good answer is a token")
    return kind


async def _ask(asked: _Asked, server: Server) -> Outcome:
    clock = ManualClock(autojump=True)
    exchange = HttpExchange(
        base_url=parse_base_url("https://api.example"),
        policy=_HASTE if asked.hasty else _POLICY,
        clock=clock,
        random=lambda: 0.5,
        library=HTTPX,
        http_client=lambda: httpx.AsyncClient(transport=server, trust_env=False),
    )
    seconds = _SHORT if asked.hasty else _POLICY.exchange_timeout
    failed = itertools.count(1)
    budget = RetryBudget(
        deadline=clock.monotonic() + seconds, wants_more=lambda _: next(failed) < asked.attempts
    )
    secret = Secret(asked.secret)
    if asked.refreshes:
        return await exchange.refresh(secret, budget)
    return await exchange.connect(Credentials("app", secret), budget)


def _judge(outcome: Outcome) -> str:
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


EXCHANGE: Final = (
    Target(
        "exchange",
        0.1,
        _draw_asked,
        always(_feed_asked),
        {"Issued", "Refused", "Unavailable", "Malformed"},
        on_loop=True,
    ),
)
