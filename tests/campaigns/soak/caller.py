"""Sends requests through one auth, and hands their outcomes to the judge."""

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
#: Seconds between a failed request and the next one.
_FAILED_PAUSE: Final = 0.005


@final
class Member:
    """An auth and the requests that use it."""

    def __init__(self, name: str, auth: TaxizerAuth) -> None:
        self.name: Final = name
        self.auth: Final = auth
        #: Cancel scopes of its requests under way.
        self.scopes: Final[set[anyio.CancelScope]] = set()
        #: Set once a request that `expect` waits for was served, or no more will be sent.
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

    def failure(self, began: float, token_ends: float, error: Exception | str) -> Failed:
        """Return what the judge has to know of a request that *began* then, and failed now."""
        return Failed(
            auth=self.name,
            began=began,
            ended=time.monotonic(),
            token_ends=token_ends,
            error=error,
        )


@final
class Caller:
    """
    Sends requests, and gives some of them up.

    Args:
        judge: Hears of each.
        rng: Draws which are given up.
    """

    def __init__(self, judge: Judge, rng: random.Random) -> None:
        self._judge = judge
        self._rng = rng

    async def request(self, member: Member, client: httpx.AsyncClient) -> None:
        """Send one through *client*, which uses the *member*'s auth."""
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
            self._judge.failed(member.failure(began, token_ends, error))
            # A remembered failure takes no time, so others would hardly get a turn.
            await anyio.sleep(_FAILED_PAUSE)

    async def _send(self, client: httpx.AsyncClient) -> Exception | str | None:
        """Return the error, the wrong status, or None."""
        content = b"<Invoice/>" if self._rng.random() < 0.5 else None
        try:
            with anyio.fail_after(STUCK_AFTER):
                response = await client.request(
                    "POST" if content else "GET", "/v1/invoices", content=content
                )
        except Exception as error:  # noqa: BLE001 - it is judged
            return error.with_traceback(None)
        return None if response.status_code == _OK else f"HTTP {response.status_code}"
