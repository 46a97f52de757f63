"""
The three incidents of the demo: when each begins, what is done, and how it is known to be over.

All follows the progress of requests and what the sandbox has counted, never the time that something
ought to take. No request is sent from here, and nothing is displayed.
"""

from __future__ import annotations

import enum
import time

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, final

import anyio
import attrs

from taxizer_async.testing import Fault, SandboxCounters


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._cli.demo.load import Tally
    from taxizer_async.testing import Sandbox


#: Seconds that the first token lives.
FIRST_LIFETIME: Final = 4.0
#: Seconds that later ones live: none of them ends by itself.
LATER_LIFETIME: Final = 900.0
#: So many times the token endpoint answers 503, …
OUTAGE_ANSWERS: Final = 2
#: … and asks for so many seconds of peace each time.
OUTAGE_RETRY_AFTER: Final = 1

#: The part of the requests that is answered before an incident is brought about.
_REVOCATION_AT: Final = 0.5
_OUTAGE_AT: Final = 0.7
#: Seconds between two looks at the counters.
_LOOK_EVERY: Final = 0.02


class Incident(enum.StrEnum):
    """What happens to the token while requests are in flight."""

    EXPIRY = "expiry"
    REVOCATION = "revocation"
    OUTAGE = "outage"


@attrs.frozen(kw_only=True)
class Note:
    """
    A step of the story.

    Attributes:
        elapsed: Seconds since the first request was sent.
        incident: What it is about; None is the login.
        text: What happened, in numbers.
        over: Whether that is the end of it.
    """

    elapsed: float
    incident: Incident | None
    text: str
    over: bool


class CrowdLike(Protocol):
    """What the director knows of the requests."""

    @property
    def requests(self) -> int:
        """How many there are."""
        ...

    @property
    def processes(self) -> int:
        """How many processes send them."""
        ...

    @property
    def tally(self) -> Tally:
        """How far they are."""
        ...


@final
class Director:
    """
    Brings the incidents about, one after the other.

    Args:
        sandbox: Which they happen to.
        crowd: Whose requests they happen to.
        report: Hears of each step.
    """

    def __init__(self, sandbox: Sandbox, crowd: CrowdLike, report: Callable[[Note], None]) -> None:
        self.sandbox: Final = sandbox
        #: Set once all incidents are over.
        self.done: Final = anyio.Event()
        self._crowd = crowd
        self._report = report
        self._began = time.monotonic()
        self._over: set[Incident] = set()

    @property
    def missed(self) -> tuple[Incident, ...]:
        """Those that have not come to their end."""
        return tuple(incident for incident in Incident if incident not in self._over)

    async def run(self) -> None:
        """Run all of them; returns when the last is over."""
        ends_at = await self._login()
        await self._expiry(ends_at)
        await self._revocation()
        await self._outage()
        self.done.set()

    async def _login(self) -> float:
        await self._until(lambda _: bool(self._answers(HTTPStatus.OK)))
        self.sandbox.lifetime = LATER_LIFETIME
        (logged_in_at, *_) = self._answers(HTTPStatus.OK)
        processes = self._crowd.processes
        self._note(
            None,
            f"1 for {self._crowd.requests} requests"
            f"{f' of {processes} processes' if processes > 1 else ''},"
            f" in {logged_in_at - self._began:.1f} s; the token lives {FIRST_LIFETIME:g} s",
            over=True,
        )
        return logged_in_at + FIRST_LIFETIME

    async def _expiry(self, ends_at: float) -> None:
        await self._until(lambda now: now.refreshes_ok > 0)
        left = max(0.0, ends_at - time.monotonic())
        self._note(
            Incident.EXPIRY,
            f"renewed with {left:.1f} s left of the token, {self._in_flight} in flight",
        )
        await self._until(lambda _: time.monotonic() > ends_at)
        answered = self._crowd.tally.answered
        after = await self._until(lambda _: self._crowd.tally.answered > answered)
        self._note(
            Incident.EXPIRY,
            f"the first token has ended, {self._in_flight} in flight: "
            f"{self._told(SandboxCounters(), after)}",
            over=True,
        )

    async def _revocation(self) -> None:
        before = await self._turn(_REVOCATION_AT)
        settled = self._crowd.tally.done + self._crowd.tally.in_flight
        self.sandbox.revoke()
        self._note(Incident.REVOCATION, f"the token is revoked, {self._in_flight} in flight")
        await self._until(
            lambda now: (
                now.unauthorized > before.unauthorized and now.refreshes_ok > before.refreshes_ok
            )
        )
        after = await self._until(lambda _: self._crowd.tally.done >= settled)
        self._note(Incident.REVOCATION, self._told(before, after), over=True)

    async def _outage(self) -> None:
        before = await self._turn(_OUTAGE_AT)
        settled = self._crowd.tally.done + self._crowd.tally.in_flight
        answer = Fault.status(
            HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": str(OUTAGE_RETRY_AFTER)}
        )
        self.sandbox.fail("connect", answer, times=OUTAGE_ANSWERS)
        self.sandbox.revoke_refresh_tokens()
        self.sandbox.revoke()
        self._note(
            Incident.OUTAGE,
            f"all tokens are revoked and the login's endpoint is down, {self._in_flight} in flight",
        )
        for number in range(1, OUTAGE_ANSWERS + 1):
            await self._refusal(number)
        await self._until(lambda now: now.connects_ok > before.connects_ok)
        lasted = time.monotonic() - self._refusals()[0]
        after = await self._until(lambda _: self._crowd.tally.done >= settled)
        logins = _count(after.connects_ok - before.connects_ok, "login")
        self._note(
            Incident.OUTAGE,
            f"over after {lasted:.1f} s: {logins}, {_refused(before, after)}",
            over=True,
        )

    async def _refusal(self, number: int) -> None:
        await self._until(lambda _: len(self._refusals()) >= number)
        self._note(
            Incident.OUTAGE, f"503 to login attempt {number}, {self._in_flight} wait for a token"
        )

    @property
    def _in_flight(self) -> str:
        return _count(self._crowd.tally.in_flight, "request")

    @staticmethod
    def _told(before: SandboxCounters, after: SandboxCounters) -> str:
        renewals = _count(after.refreshes_ok - before.refreshes_ok, "renewal")
        return f"{renewals}, {_refused(before, after)}"

    def _refusals(self) -> list[float]:
        return self._answers(HTTPStatus.SERVICE_UNAVAILABLE)

    def _answers(self, status: HTTPStatus) -> list[float]:
        """Return when the token endpoints answered that (`time.monotonic`)."""
        return [entry.finished_at for entry in self.sandbox.exchange_log if entry.status == status]

    async def _turn(self, share: float) -> SandboxCounters:
        """Wait until that *share* of the requests is done, and some are in flight."""
        least = share * self._crowd.requests
        return await self._until(
            lambda _: self._crowd.tally.done >= least and self._crowd.tally.in_flight > 0
        )

    async def _until(self, condition: Callable[[SandboxCounters], bool]) -> SandboxCounters:
        """Wait until *condition* holds for the sandbox's counters, and return them."""
        # The sandbox counts in a thread of its own, so there is no event of this loop to wait for.
        while not condition(counters := self.sandbox.counters):  # noqa: ASYNC110
            await anyio.sleep(_LOOK_EVERY)
        return counters

    def _note(self, incident: Incident | None, text: str, *, over: bool = False) -> None:
        if over and incident is not None:
            self._over.add(incident)
        elapsed = time.monotonic() - self._began
        self._report(Note(elapsed=elapsed, incident=incident, text=text, over=over))


def _refused(before: SandboxCounters, after: SandboxCounters) -> str:
    unauthorized = after.unauthorized - before.unauthorized
    met = f"{_count(unauthorized, 'request')} met a 401 and went again"
    return met if unauthorized else "no 401"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
