"""
The three incidents of the demo: when each begins, what it does, and when it is over.

Every step follows from the progress of the requests and the sandbox's counters, never from the time that
something ought to take.
"""

from __future__ import annotations

import enum
import time

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, final

import anyio
import attrs

from taxizer_async.testing import Fault, SandboxCounters


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._cli.demo.worker_pool import Senders
    from taxizer_async.testing import Sandbox


#: Seconds that the first token lives.
FIRST_LIFETIME: Final = 4.0
#: Seconds that later tokens live: longer than the demo.
LATER_LIFETIME: Final = 900.0
#: How many times the login endpoint answers 503.
OUTAGE_ANSWERS: Final = 2
#: The seconds in the Retry-After header of those answers.
OUTAGE_RETRY_AFTER: Final = 1

#: The share of the requests that is done before the incident begins.
_REVOCATION_AT: Final = 0.5
_OUTAGE_AT: Final = 0.7
#: Seconds between two looks at the counters.
_POLL_INTERVAL: Final = 0.02


class Incident(enum.StrEnum):
    """What happens to the token while requests are in flight."""

    EXPIRY = "expiry"
    REVOCATION = "revocation"
    OUTAGE = "outage"


@attrs.frozen(kw_only=True)
class Step:
    """
    Something that happened.

    Attributes:
        elapsed: Seconds since the first request was sent.
        incident: The incident it belongs to; None for the login.
        text: What happened, in numbers.
        over: Whether it ends the incident.
    """

    elapsed: float
    incident: Incident | None
    text: str
    over: bool


@final
class Scenario:
    """
    Makes the incidents happen, one after the other.

    Args:
        sandbox: The server that the requests go to.
        senders: The processes that send the requests.
        report: Called with each step.
    """

    def __init__(self, sandbox: Sandbox, senders: Senders, report: Callable[[Step], None]) -> None:
        self.sandbox: Final = sandbox
        #: Set once all incidents are over.
        self.done: Final = anyio.Event()
        self._senders = senders
        self._report = report
        self._began = time.monotonic()
        self._over: set[Incident] = set()

    @property
    def missed(self) -> tuple[Incident, ...]:
        """The incidents that are not over."""
        return tuple(incident for incident in Incident if incident not in self._over)

    async def run(self) -> None:
        """Return when the last incident is over."""
        ends_at = await self._login()
        await self._expiry(ends_at)
        await self._revocation()
        await self._outage()
        self.done.set()

    async def _login(self) -> float:
        await self._until(lambda _: bool(self._answers(HTTPStatus.OK)))
        self.sandbox.lifetime = LATER_LIFETIME
        (logged_in_at, *_) = self._answers(HTTPStatus.OK)
        processes = self._senders.processes
        self._report_step(
            None,
            f"1 for {self._senders.requests} requests"
            f"{f' of {processes} processes' if processes > 1 else ''},"
            f" in {logged_in_at - self._began:.1f} s; the token lives {FIRST_LIFETIME:g} s",
            over=True,
        )
        return logged_in_at + FIRST_LIFETIME

    async def _expiry(self, ends_at: float) -> None:
        await self._until(lambda now: now.refreshes_ok > 0)
        left = max(0.0, ends_at - time.monotonic())
        self._report_step(
            Incident.EXPIRY,
            f"renewed with {left:.1f} s left of the token, {self._in_flight} in flight",
        )
        await self._until(lambda _: time.monotonic() > ends_at)
        answered = self._senders.counts.answered
        after = await self._until(lambda _: self._senders.counts.answered > answered)
        self._report_step(
            Incident.EXPIRY,
            f"the first token has ended, {self._in_flight} in flight: "
            f"{self._describe(SandboxCounters(), after)}",
            over=True,
        )

    async def _revocation(self) -> None:
        before = await self._reach(_REVOCATION_AT)
        # All requests that meet the incident.
        started = self._senders.counts.done + self._senders.counts.in_flight
        self.sandbox.revoke()
        self._report_step(Incident.REVOCATION, f"the token is revoked, {self._in_flight} in flight")
        await self._until(
            lambda now: (
                now.unauthorized > before.unauthorized and now.refreshes_ok > before.refreshes_ok
            )
        )
        after = await self._until(lambda _: self._senders.counts.done >= started)
        self._report_step(Incident.REVOCATION, self._describe(before, after), over=True)

    async def _outage(self) -> None:
        before = await self._reach(_OUTAGE_AT)
        started = self._senders.counts.done + self._senders.counts.in_flight
        answer = Fault.status(
            HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(OUTAGE_RETRY_AFTER)}
        )
        self.sandbox.fail("connect", answer, times=OUTAGE_ANSWERS)
        self.sandbox.revoke_refresh_tokens()
        self.sandbox.revoke()
        self._report_step(
            Incident.OUTAGE,
            f"all tokens are revoked and the login's endpoint is down, {self._in_flight} in flight",
        )
        for number in range(1, OUTAGE_ANSWERS + 1):
            await self._failed_attempt(number)
        await self._until(lambda now: now.connects_ok > before.connects_ok)
        lasted = time.monotonic() - self._answers(HTTPStatus.SERVICE_UNAVAILABLE)[0]
        after = await self._until(lambda _: self._senders.counts.done >= started)
        logins = _count(after.connects_ok - before.connects_ok, "login")
        self._report_step(
            Incident.OUTAGE,
            f"over after {lasted:.1f} s: {logins}, {_describe_401s(before, after)}",
            over=True,
        )

    async def _failed_attempt(self, number: int) -> None:
        await self._until(lambda _: len(self._answers(HTTPStatus.SERVICE_UNAVAILABLE)) >= number)
        self._report_step(
            Incident.OUTAGE, f"503 to login attempt {number}, {self._in_flight} wait for a token"
        )

    @property
    def _in_flight(self) -> str:
        return _count(self._senders.counts.in_flight, "request")

    @staticmethod
    def _describe(before: SandboxCounters, after: SandboxCounters) -> str:
        renewals = _count(after.refreshes_ok - before.refreshes_ok, "renewal")
        return f"{renewals}, {_describe_401s(before, after)}"

    def _answers(self, status: HTTPStatus) -> list[float]:
        """Return when the token endpoints answered with *status* (`time.monotonic`)."""
        return [entry.finished_at for entry in self.sandbox.exchange_log if entry.status == status]

    async def _reach(self, share: float) -> SandboxCounters:
        """Wait until that *share* of the requests is done and some are in flight."""
        least = share * self._senders.requests
        return await self._until(
            lambda _: self._senders.counts.done >= least and self._senders.counts.in_flight > 0
        )

    async def _until(self, condition: Callable[[SandboxCounters], bool]) -> SandboxCounters:
        """Wait until *condition* holds for the sandbox's counters, and return them."""
        # The sandbox counts in another thread, which sets no event of this loop.
        while not condition(counters := self.sandbox.counters):  # noqa: ASYNC110
            await anyio.sleep(_POLL_INTERVAL)
        return counters

    def _report_step(self, incident: Incident | None, text: str, *, over: bool = False) -> None:
        if over and incident is not None:
            self._over.add(incident)
        elapsed = time.monotonic() - self._began
        self._report(Step(elapsed=elapsed, incident=incident, text=text, over=over))


def _describe_401s(before: SandboxCounters, after: SandboxCounters) -> str:
    unauthorized = after.unauthorized - before.unauthorized
    met = f"{_count(unauthorized, 'request')} met a 401 and went again"
    return met if unauthorized else "no 401"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
