"""
What happens in the demo: the login, and then an expiry, a revocation and an outage.

Every step follows from the progress of the requests and the sandbox's counters, never from the time that
something ought to take.
"""

from __future__ import annotations

import enum
import time

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, final

import anyio
import attrs

from taxizer_async._cli.demo.workers import Sender
from taxizer_async.testing import Fault, Sandbox, SandboxCounters


#: Seconds that the first token lives, and the later ones: longer than the demo.
FIRST_LIFETIME: Final = 4.0
_LATER_LIFETIME: Final = 900.0
#: How many times the login endpoint answers 503.
OUTAGE_ANSWERS: Final = 2
#: The share of the requests that is done before the phase begins.
_REVOCATION_AT: Final = 0.5
_OUTAGE_AT: Final = 0.7
#: Seconds between two looks at the counters.
_POLL_INTERVAL: Final = 0.02


class Phase(enum.StrEnum):
    """What happens to the token while requests are in flight."""

    LOGIN = "login"
    EXPIRY = "expiry"
    REVOCATION = "revocation"
    OUTAGE = "outage"


@attrs.frozen(kw_only=True)
class Step:
    """Something that happened, *elapsed* seconds after the first request; the last step of a phase is *over*."""

    elapsed: float
    phase: Phase
    text: str
    over: bool


@attrs.frozen(kw_only=True)
class Progress:
    """How far the *requests* are, and what the sandbox has counted, *elapsed* seconds after the first."""

    elapsed: float
    requests: int
    answered: int
    failed: int
    in_flight: int
    counters: SandboxCounters

    @property
    def done(self) -> int:
        """Requests that are over."""
        return self.answered + self.failed


Report: TypeAlias = Callable[[Progress | Step], None]


@final
class Scenario:
    """Makes the phases happen, one after the other, and calls *report* with what *sandbox* and *senders* did."""

    def __init__(self, sandbox: Sandbox, senders: Sequence[Sender], report: Report) -> None:
        #: The phases that are not over.
        self.missed: Final = list(Phase)
        self._sandbox = sandbox
        self._senders = senders
        self._report = report
        self._began = time.monotonic()
        #: When the first token expires.
        self._expires_at = 0.0

    @property
    def progress(self) -> Progress:
        counts = [sender.counts for sender in self._senders]
        return Progress(
            elapsed=time.monotonic() - self._began,
            requests=sum(sender.requests for sender in self._senders),
            answered=sum(each.answered for each in counts),
            failed=sum(each.failed for each in counts),
            in_flight=sum(each.in_flight for each in counts),
            counters=self._sandbox.counters,
        )

    async def run(self) -> None:
        """Return when all phases are over and all requests are done."""
        for happen in (self._login, self._expiry, self._revocation, self._outage):
            self._step(await happen(), over=True)
            del self.missed[0]
        await self._until(lambda now: now.done == now.requests)

    async def _login(self) -> str:
        now = await self._until(lambda now: now.counters.connects_ok > 0)
        self._sandbox.lifetime = _LATER_LIFETIME
        logged_in_at = self._answered_at(200)[0]
        self._expires_at = logged_in_at + FIRST_LIFETIME
        processes = f" of {len(self._senders)} processes" if len(self._senders) > 1 else ""
        return (
            f"1 for {now.requests} requests{processes}, in {logged_in_at - self._began:.1f} s; "
            f"the token lives {FIRST_LIFETIME:g} s"
        )

    async def _expiry(self) -> str:
        before = self.progress
        now = await self._until(lambda now: now.counters.refreshes_ok > 0)
        left = max(0.0, self._expires_at - time.monotonic())
        self._step(f"renewed with {left:.1f} s left of the token, {_in_flight(now)}")
        expired = await self._until(lambda _: time.monotonic() > self._expires_at)
        now = await self._until(lambda now: now.answered > expired.answered)
        return f"the first token has expired, {_in_flight(now)}: {_renewals(before, now)}"

    async def _revocation(self) -> str:
        before = await self._reach(_REVOCATION_AT)
        self._sandbox.revoke()
        self._step(f"the token is revoked, {_in_flight(before)}")
        await self._until(lambda now: now.counters.unauthorized > before.counters.unauthorized)
        await self._until(lambda now: now.counters.refreshes_ok > before.counters.refreshes_ok)
        return _renewals(before, await self._until_answered(before))

    async def _outage(self) -> str:
        before = await self._reach(_OUTAGE_AT)
        fault = Fault.status(503, headers={"Retry-After": "1"})
        self._sandbox.fail("connect", fault, times=OUTAGE_ANSWERS)
        self._sandbox.revoke_refresh_tokens()
        self._sandbox.revoke()
        self._step(f"all tokens are revoked and the login's endpoint is down, {_in_flight(before)}")
        for number in range(1, OUTAGE_ANSWERS + 1):
            now = await self._until(lambda _: len(self._answered_at(503)) >= number)  # noqa: B023
            waiting = _count(now.in_flight, "request")
            self._step(f"503 to login attempt {number}, {waiting} wait for a token")
        await self._until(lambda now: now.counters.connects_ok > before.counters.connects_ok)
        lasted = time.monotonic() - self._answered_at(503)[0]
        after = await self._until_answered(before)
        logins = _count(after.counters.connects_ok - before.counters.connects_ok, "login")
        return f"over after {lasted:.1f} s: {logins}, {_met_401(before, after)}"

    def _answered_at(self, status: int) -> list[float]:
        """Return when the token endpoints answered with *status* (`time.monotonic`)."""
        return [entry.finished_at for entry in self._sandbox.exchange_log if entry.status == status]

    async def _reach(self, share: float) -> Progress:
        """Wait until that *share* of the requests is done and some are in flight."""
        return await self._until(lambda now: now.in_flight > 0 and now.done >= share * now.requests)

    async def _until_answered(self, before: Progress) -> Progress:
        """Wait until as many requests are done as had been sent *before*."""
        return await self._until(lambda now: now.done >= before.done + before.in_flight)

    async def _until(self, condition: Callable[[Progress], bool]) -> Progress:
        """Report the progress until *condition* holds for it; then return it."""
        while not condition(now := self.progress):
            self._report(now)
            # The sandbox counts in another thread, which sets no event of this loop.
            await anyio.sleep(_POLL_INTERVAL)
        return now

    def _step(self, text: str, *, over: bool = False) -> None:
        elapsed = time.monotonic() - self._began
        self._report(Step(elapsed=elapsed, phase=self.missed[0], text=text, over=over))


def _in_flight(progress: Progress) -> str:
    return f"{_count(progress.in_flight, 'request')} in flight"


def _renewals(before: Progress, after: Progress) -> str:
    renewals = after.counters.refreshes_ok - before.counters.refreshes_ok
    return f"{_count(renewals, 'renewal')}, {_met_401(before, after)}"


def _met_401(before: Progress, after: Progress) -> str:
    unauthorized = after.counters.unauthorized - before.counters.unauthorized
    met = f"{_count(unauthorized, 'request')} met a 401 and went again"
    return met if unauthorized else "no 401"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
