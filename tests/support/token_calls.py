"""The two calls for a token, made by hand: what sends them, and a clock that does not wait."""

from __future__ import annotations

import itertools
import math

from collections.abc import Callable
from typing import Any, final

import anyio
import anyio.lowlevel
import httpx

from taxizer_async import Credentials, RenewalPolicy
from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.clock import SystemClock
from taxizer_async._core.exchange import Outcome, RetryBudget
from taxizer_async._core.secret import Secret
from taxizer_async._http.library import HttpLibrary
from taxizer_async._http.token_endpoints import HttpExchange
from taxizer_async._http.urls import parse_base_url


PAIR = Credentials("sandbox-client", "sandbox-secret")


@final
class HastyClock:
    """The machine's clock, except that a sleep moves it at once and is recorded; *ahead* shifts the wall clock."""

    def __init__(self, *, ahead: float = 0.0) -> None:
        self.slept: list[float] = []
        self._ahead = ahead

    def monotonic(self) -> float:
        return SystemClock.monotonic() + sum(self.slept)

    def wall(self) -> float:
        return SystemClock.wall() + self._ahead + sum(self.slept)

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()


@final
class Asker:
    """Makes the two calls to one server."""

    def __init__(
        self,
        base_url: str,
        *,
        http_client: Callable[[], httpx.AsyncClient] | None = None,
        library: HttpLibrary = HTTPX,
        ahead: float = 0.0,
        jitter: float = 0.0,
        **policy: Any,
    ) -> None:
        self.clock = HastyClock(ahead=ahead)
        self.exchange = HttpExchange(
            base_url=parse_base_url(base_url),
            policy=RenewalPolicy(**policy),
            clock=self.clock,
            random=lambda: jitter,
            library=library,
            http_client=http_client,
        )

    async def connect(
        self, credentials: Credentials = PAIR, *, attempts: float = math.inf, seconds: float = 30.0
    ) -> Outcome:
        """Log in within *seconds*, with at most *attempts* attempts."""
        return await self.exchange.connect(credentials, self._budget(attempts, seconds))

    async def refresh(self, refresh_token: str = "r-1", *, seconds: float = 30.0) -> Outcome:
        """Renew within *seconds*, with more attempts wanted."""
        return await self.exchange.refresh(Secret(refresh_token), self._budget(math.inf, seconds))

    def _budget(self, attempts: float, seconds: float) -> RetryBudget:
        failed = itertools.count(1)
        return RetryBudget(
            deadline=self.clock.monotonic() + seconds, wants_more=lambda _: next(failed) < attempts
        )
