"""
How operators hear of events: the `taxizer_async` logger at once, their own hook later.

The hook is the user's code, so it runs outside every lock, and what it raises is logged.
"""

from __future__ import annotations

import inspect
import logging

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias, final

import anyio

from taxizer_async import _events as events
from taxizer_async._errors import ConfigurationError


if TYPE_CHECKING:
    from taxizer_async._events import Event


EventHook: TypeAlias = Callable[["Event"], Awaitable[None] | None]

_log: Final = logging.getLogger("taxizer_async")

_LEVELS: Final[dict[type[Event], int]] = {
    events.LoggedIn: logging.INFO,
    events.Renewed: logging.INFO,
    events.Adopted: logging.DEBUG,
    events.RefreshRefused: logging.WARNING,
    events.ExchangeFailed: logging.WARNING,
    events.TokenAwaited: logging.DEBUG,
    events.LeaseAwaited: logging.DEBUG,
    events.TokenRefused: logging.INFO,
    events.Forgotten: logging.INFO,
    events.StoreFailed: logging.WARNING,
    events.StoreRecovered: logging.INFO,
    events.OriginSkipped: logging.WARNING,
}


@final
class Reporter:
    """Logs events and queues them for *hook*, which may be sync (then it must be quick) or async."""

    __slots__ = ("_hook", "_pending", "_timeout")

    def __init__(self, hook: EventHook | None, *, timeout: float) -> None:
        if hook is not None and not callable(hook):
            msg = f"on_event must be a callable, not {type(hook).__name__}"
            # The frames of a traceback may be captured with their arguments.
            del hook
            raise ConfigurationError(msg)
        self._hook = hook
        self._timeout = timeout
        self._pending: deque[Event] = deque()

    def add(self, event: Event) -> None:
        """Log *event* now; the hook hears of it at the next `deliver`."""
        _log.log(_LEVELS[type(event)], "%s", event)
        if self._hook is not None:
            self._pending.append(event)

    async def deliver(self) -> None:
        """Hand what is queued to the hook, in order; never call this with a lock held."""
        while self._hook is not None and self._pending:
            try:
                event = self._pending.popleft()
            except IndexError:  # another thread was faster
                return
            await self._hand_over(self._hook, event)

    async def _hand_over(self, hook: EventHook, event: Event) -> None:
        problem: str | None = None
        with anyio.move_on_after(self._timeout) as scope:
            try:
                answer = hook(event)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as cause:  # noqa: BLE001 - it is the user's
                problem = type(cause).__name__
        if scope.cancelled_caught:
            problem = f"nothing within {self._timeout} s"
        if problem:
            # No traceback: its frames are the user's, and their locals are not ours to print.
            _log.error("on_event failed with %s on %s", problem, type(event).__name__)
