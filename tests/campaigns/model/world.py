"""The parts of one simulation, and what they ask each other."""

from __future__ import annotations

import logging

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import attrs

from taxizer_async import MemoryTokenStore
from taxizer_async._core.log_lines import LOGIN_FAILED
from taxizer_async.testing import ManualClock
from tests.campaigns.model.process import Process, is_over
from tests.campaigns.model.server import CANARY, Place, Server
from tests.campaigns.model.store import Shelf


if TYPE_CHECKING:
    import random

    from collections.abc import Iterator

    from tests.campaigns.model.process import Asking
    from tests.campaigns.model.server import Grant


@attrs.define(eq=False, kw_only=True)
class Call:
    """A request of the user's, on its way."""

    number: int
    process: Process
    scope: anyio.CancelScope
    #: Where it is sent.
    where: Place
    #: Whether its body can be sent again.
    replayable: bool
    #: Whether it waits for a token, and not for the server.
    wants_token: bool = True
    #: Whether there has been a token to go on with for as long as it has waited for one.
    covered: bool = False
    #: How many refreshes of its process had ended when it began to wait for one.
    refreshes: int = 0
    gate: anyio.Event | None = None
    #: The JWT that it was refused with; it can't go on with that.
    refused: str | None = None
    sends: int = 0
    status: int | None = None
    done: bool = False
    #: Whether it got a 401 for a token that is good.
    hoodwinked: bool = False

    def has_token(self) -> bool:
        """Whether its process has a token that it can go on with."""
        if self.refused is None:
            return self.process.has_token()
        cached = self.process.provider.cache.alive()
        return cached is not None and cached.token.jwt.reveal() != self.refused


class World:
    """The clock, the server, the store and two processes."""

    def __init__(self, rng: random.Random) -> None:
        self.clock = ManualClock()
        self.server = Server(self.clock, rng)
        self.shelf = Shelf(MemoryTokenStore(clock=self.clock), self.clock)
        #: Refresh tokens that the server may have seen.
        self.sent_refresh: set[str] = set()
        self.calls: list[Call] = []
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.processes = [Process(number, self, rng) for number in range(2)]

    def note(self, line: str) -> None:
        """Add to the trace."""
        self.trace.append(f"{self.clock.monotonic() - 1_000.0:12.3f}  {line}")

    def asking(self) -> list[Asking]:
        """Return the exchanges under way."""
        return [asking for process in self.processes for asking in process.asking]

    def unanswered(self) -> list[Asking]:
        """Return those of them that wait for the server."""
        return [asking for asking in self.asking() if asking.waits]

    def work(self) -> object:
        """Return a value that differs once anything was done for callers."""
        return (
            len(self.server.grants),
            [gate for gate in self.shelf.gates if not gate.is_set()],
            self.asking(),
            [process.work() for process in self.processes],
        )

    def is_over(self, grant: Grant) -> bool:
        """Return whether a client takes *grant* to be dead."""
        return is_over(grant, self.clock)

    def begin_waiting(self, call: Call) -> None:
        """Note that *call* wants a token from now on."""
        call.wants_token, call.covered = True, call.has_token()
        call.refreshes = call.process.refreshes_ended

    def uncover(self, process: Process) -> None:
        """Note that *process* has no token, so that its callers may fail."""
        for call in self.calls:
            if call.process is process:
                call.covered = False
        process.watch.uncover()

    def look(self) -> None:
        """Note the processes and calls that have no token to go on with."""
        for process in self.processes:
            if not process.has_token():
                self.uncover(process)
        for call in self.calls:
            call.covered &= call.has_token()


class _Ear(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if CANARY in f"{record.getMessage()} {record.args} {record.exc_text}" or record.exc_info:
            self._world.violations.append("what is logged holds no secret, and no traceback")
        if record.levelno >= logging.ERROR and record.msg != LOGIN_FAILED.text:
            self._world.violations.append(f"nothing is wrong with us: {record.getMessage()}")


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Check every log record."""
    log = logging.getLogger("taxizer_async")
    ear, level = _Ear(world), log.level
    log.addHandler(ear)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(ear)
        log.setLevel(level)
        log.propagate = True
