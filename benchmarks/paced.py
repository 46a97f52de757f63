"""Requests at a steady pace, and when each was sent and how it ended."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING, Final, final

import anyio
import attrs

from benchmarks.bench import Tally


if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.contenders import Session


#: Seconds between two requests of a contender.
PACE: Final = 0.05


@attrs.frozen(kw_only=True)
class Sent:
    """A request, its times (`time.monotonic`), and whether it was accepted."""

    at: float
    ended_at: float
    good: bool


@final
class Paced:
    """
    Sends requests of *session*, one every `PACE` seconds.

    Args:
        session: What sends them.
        deadline: Seconds after which the caller of a request gives up; None if it does not.
    """

    def __init__(self, session: Session, deadline: float | None = None) -> None:
        self._session = session
        self._deadline = deadline
        #: The requests that have ended.
        self.sent: list[Sent] = []
        #: When the first one was sent (`time.monotonic`).
        self.began = 0.0

    async def send_all(self, seconds: float) -> None:
        """Send requests for *seconds*, and return when the last one has ended."""
        async with anyio.create_task_group() as group:
            self.began = time.monotonic()
            for number in range(int(seconds / PACE)):
                await until(self.began + number * PACE)
                group.start_soon(self._send)

    def between(self, begin: float, end: float) -> list[Sent]:
        """Return the requests that were sent in that time."""
        return [each for each in self.sent if begin <= each.at < end]

    async def _send(self) -> None:
        at, good = time.monotonic(), False
        with anyio.move_on_after(self._deadline):
            good = await Tally().count(self._session)
        self.sent.append(Sent(at=at, ended_at=time.monotonic(), good=good))


def failed(requests: Iterable[Sent]) -> int:
    """Return how many of *requests* failed."""
    return sum(not each.good for each in requests)


async def until(moment: float) -> None:
    """Sleep until then (`time.monotonic`)."""
    await anyio.sleep(max(0.0, moment - time.monotonic()))
