"""
The worker processes of the demo, as whoever starts them sees them: one crowd, in several processes.

All of them end with the context they were started in, whatever happens in it. What a worker does is in
`_demo_worker`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast, final

import anyio

from anyio.streams.buffered import BufferedByteReceiveStream

from taxizer_async._cli.demo.load import Outcome, Tally
from taxizer_async._cli.demo.worker import decode_news


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from taxizer_async._cli.demo.worker import Order


_PROGRAM: Final = "taxizer_async._cli.demo.worker"
#: Bytes of a line: an outcome holds a latency per request.
_LONGEST_LINE: Final = 1 << 26
#: Seconds that a worker may take to end once all is said.
_LAST_STEPS: Final = 10.0


@contextlib.asynccontextmanager
async def start_fleet(orders: Iterable[Order]) -> AsyncGenerator[Fleet]:
    """Start a worker for each of *orders*; enter once all are ready, or have ended."""
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(_start_worker(number, order))
            for number, order in enumerate(orders, start=1)
        ]
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.get_ready)
        yield Fleet(workers)


@final
class Fleet:
    """Workers, each with its share."""

    def __init__(self, workers: list[Worker]) -> None:
        self.requests: Final = sum(worker.requests for worker in workers)
        self.processes: Final = len(workers)
        self._workers = workers

    @property
    def tally(self) -> Tally:
        """How far they are together."""
        return sum((worker.tally for worker in self._workers), start=Tally())

    async def run(self, changed: Callable[[], None]) -> tuple[Outcome, ...]:
        """Have all send, and return what came of it; *changed* is called when `tally` has."""
        outcomes: dict[int, Outcome] = {}

        async def run_one(worker: Worker) -> None:
            outcomes[worker.number] = await worker.run(changed)

        async with anyio.create_task_group() as tasks:
            for worker in self._workers:
                tasks.start_soon(run_one, worker)
        return tuple(outcomes[worker.number] for worker in self._workers)


@final
class Worker:
    """
    One worker.

    Args:
        number: What it is called.
        order: What it does.
        process: It.
        last_words: Where its stderr goes.
    """

    def __init__(self, number: int, order: Order, process: Process, last_words: IO[bytes]) -> None:
        self.number: Final = number
        self.requests: Final = order.share.requests
        self.tally = Tally()
        self._order = order
        self._process = process
        self._last_words = last_words
        # Both are pipes.
        self._stdout = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
        self._stdin = cast("ByteSendStream", process.stdin)

    async def get_ready(self) -> None:
        """Give it its order, and wait until it has loaded all that it needs."""
        await self._send(self._order.encode())
        await self._hear()

    async def run(self, changed: Callable[[], None]) -> Outcome:
        """Have it send; *changed* is called when `tally` has."""
        await self._send(b"\n")
        news = await self._hear()
        while isinstance(news, Tally):
            self.tally = news
            changed()
            news = await self._hear()
        with anyio.move_on_after(_LAST_STEPS):
            await self._process.wait()
        outcome = news or self._obituary()
        self.tally = Tally(answered=outcome.answered, failed=outcome.failed)
        changed()
        return outcome

    async def _send(self, line: bytes) -> None:
        # That it has ended is heard on its stdout.
        with contextlib.suppress(anyio.BrokenResourceError):
            await self._stdin.send(line)

    async def _hear(self) -> Tally | Outcome | None:
        """Return what it says next; None if it has ended."""
        try:
            return decode_news(await self._stdout.receive_until(b"\n", _LONGEST_LINE))
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return None

    def _obituary(self) -> Outcome:
        """Return what came of one that ended before its requests did."""
        self._last_words.seek(0)
        words = self._last_words.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(words) if line.strip()), "it said nothing")
        reason = f"worker {self.number} ended with exit code {self._process.returncode}: {last}"
        lost = self.requests - self.tally.answered
        return Outcome(answered=self.tally.answered, failures=((reason, lost),) if lost else ())


@contextlib.asynccontextmanager
async def _start_worker(number: int, order: Order) -> AsyncGenerator[Worker]:
    with tempfile.TemporaryFile() as last_words:
        process = await anyio.open_process(
            # It finds what this process has found, and nothing else that lies about.
            [sys.executable, "-P", "-m", _PROGRAM],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(_absolute, sys.path))},
            stderr=last_words,
            # Ctrl-C on a terminal is for this process, which ends the worker.
            start_new_session=True,
        )
        async with ending(process):
            yield Worker(number, order, process, last_words)


@contextlib.asynccontextmanager
async def ending(process: Process) -> AsyncGenerator[None]:
    """End *process* with the context, at once."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
