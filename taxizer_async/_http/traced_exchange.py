"""An exchange that tells tracers when each of its calls begins and ends, in the task that makes the call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar, final

from taxizer_async._core.log_lines import LOG


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async._core.events import ExchangeKind
    from taxizer_async._core.exchange import Exchange, ExchangeTracer, Outcome, RetryBudget
    from taxizer_async._core.models import Credentials
    from taxizer_async._core.secret import Secret


T = TypeVar("T")


@final
class TracedExchange:
    """
    Passes each call on to *exchange*.

    Attributes:
        tracers: What is told, the last of them inside the others; what they raise is logged.
    """

    __slots__ = ("_exchange", "tracers")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.tracers: tuple[ExchangeTracer, ...] = ()

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in."""
        return await self._traced("connect", partial(self._exchange.connect, credentials, budget))

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        """Renew."""
        return await self._traced("refresh", partial(self._exchange.refresh, refresh_token, budget))

    async def _traced(self, kind: ExchangeKind, call: Callable[[], Awaitable[Outcome]]) -> Outcome:
        ends = [_tried(partial(tracer, kind)) for tracer in self.tracers]
        outcome: Outcome | None = None
        try:
            outcome = await call()
            return outcome
        finally:
            for end in reversed(ends):
                if end is not None:
                    _tried(partial(end, outcome))


def _tried(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except Exception as cause:  # noqa: BLE001 - it is the user's, and fails no login
        problem = type(cause).__name__
    LOG.error("a login or renewal could not be traced: %s", problem)
    return None
