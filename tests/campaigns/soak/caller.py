"""Who sends a request, through which auth, and what is done with the outcome."""

from __future__ import annotations

import math
import time

from typing import TYPE_CHECKING, Final, final

import anyio

from tests.campaigns.soak.judge import STUCK_AFTER, Failed, Judge


if TYPE_CHECKING:
    import random

    import httpx

    from taxizer_async import TaxizerAuth


_OK: Final = 200
#: The share of requests that is cancelled, and after how many seconds at most.
_CANCELLED: Final = 0.02
CANCELLED_WITHIN: Final = 0.03
#: Seconds until who has failed tries again.
_FAILED_PAUSE: Final = 0.005


@final
class Member:
    """An auth with all that use it."""

    def __init__(self, name: str, auth: TaxizerAuth) -> None:
        self.name: Final = name
        self.auth: Final = auth
        #: Of its requests under way.
        self.scopes: Final[set[anyio.CancelScope]] = set()
        #: Set once it was served as `expect` wants it, or it will send no more.
        self.served = anyio.Event()
        self._earlier: set[anyio.CancelScope] = set()
        self._turn = 0

    def expect(self) -> None:
        """Wait until all requests under way have ended, and one that began after that was served."""
        self._turn += 1
        self._earlier = self.scopes.copy()
        self.served = anyio.Event()

    def begin(self, scope: anyio.CancelScope) -> int:
        """Note a request, and return which `expect` it can answer; 0 is none."""
        self.scopes.add(scope)
        return 0 if self._earlier else self._turn

    def end(self, scope: anyio.CancelScope) -> None:
        """Note that a request has ended."""
        self.scopes.discard(scope)
        self._earlier.discard(scope)

    def note_served(self, turn: int) -> None:
        """Note that a request was answered that can answer the `expect` of *turn*."""
        if turn == self._turn:
            self.served.set()

    @property
    def token_ends(self) -> float:
        """When its token ends (`time.monotonic`); long ago if there is none."""
        status = self.auth.status()
        if not status.usable or status.expires_in is None:
            return -math.inf
        return time.monotonic() + status.expires_in


@final
class Caller:
    """
    Sends requests, some of which it gives up.

    Args:
        judge: Hears of each.
        rng: For all that is random here.
    """

    def __init__(self, judge: Judge, rng: random.Random) -> None:
        self._judge = judge
        self._rng = rng

    async def request(self, member: Member, client: httpx.AsyncClient) -> None:
        """Send one through *client*, whose auth is the *member*'s."""
        began, token_ends = time.monotonic(), member.token_ends
        with anyio.CancelScope() as scope:
            if self._rng.random() < _CANCELLED:
                scope.deadline = anyio.current_time() + self._rng.uniform(0.0, CANCELLED_WITHIN)
            turn = member.begin(scope)
            try:
                error = await self._send(client)
            except anyio.get_cancelled_exc_class():
                self._judge.cancelled()
                raise
            finally:
                member.end(scope)
            if error is None:
                self._judge.served(began)
                member.note_served(turn)
                return
            self._judge.failed(
                Failed(
                    who=member.name,
                    began=began,
                    ended=time.monotonic(),
                    token_ends=token_ends,
                    error=error,
                )
            )
            # A failure from memory takes no time: others would hardly have a turn.
            await anyio.sleep(_FAILED_PAUSE)

    async def _send(self, client: httpx.AsyncClient) -> Exception | str | None:
        """Return what it failed with."""
        content = b"<Invoice/>" if self._rng.random() < 0.5 else None
        try:
            with anyio.fail_after(STUCK_AFTER):
                response = await client.request(
                    "POST" if content else "GET", "/v1/invoices", content=content
                )
        except Exception as error:  # noqa: BLE001 - it is judged
            return error.with_traceback(None)
        return None if response.status_code == _OK else f"HTTP {response.status_code}"
