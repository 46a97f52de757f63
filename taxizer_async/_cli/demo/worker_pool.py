"""
The worker processes of the demo and the store that they share, as the parent process sees them.

Both end with the context that they were started in.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias, cast, final

import anyio

from anyio.streams.buffered import BufferedByteReceiveStream

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Outcome
from taxizer_async._cli.demo.redis_server import RedisServer, find_redis_server
from taxizer_async._cli.demo.worker import decode_report
from taxizer_async._cli.store_config import SharedStore, StoreConfig, StoreKind
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from taxizer_async._cli.demo.worker import Report, WorkerConfig


_PROGRAM: Final = "taxizer_async._cli.demo.worker"
#: Bytes; an outcome holds a latency per request.
_MAX_LINE: Final = 1 << 26
#: Seconds that a worker may take to end after its outcome.
_EXIT_TIMEOUT: Final = 10.0
#: Seconds between two looks at a server that starts.
_POLL_INTERVAL: Final = 0.02


def check_store(kind: SharedStore) -> None:
    """
    Check that this machine has what a store of *kind* needs.

    Raises:
        ConfigurationError: If something is missing.
    """
    # Nothing connects to this one.
    StoreConfig(kind=StoreKind(kind), redis_url=Secret("redis://127.0.0.1")).create()
    if kind is SharedStore.REDIS and find_redis_server() is None:
        msg = "there is no redis-server here: put one on PATH, or share the token with --store file"
        raise ConfigurationError(msg)


@contextlib.asynccontextmanager
async def shared_store(kind: SharedStore) -> AsyncGenerator[StoreConfig]:
    """
    Provide a store that processes of this machine can share; it is deleted at the end.

    Raises:
        ConfigurationError: If there is no redis-server, or it does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taxizer-async-")))
        if kind is SharedStore.FILE:
            yield StoreConfig(kind=StoreKind.FILE, path=str(folder / "tokens"))
            return
        server = RedisServer(folder)
        stack.callback(server.stop)
        server.launch()
        while not server.is_ready():  # noqa: ASYNC110 - no event tells when it is
            await anyio.sleep(_POLL_INTERVAL)
        yield StoreConfig(kind=StoreKind.REDIS, redis_url=Secret(server.url))


@contextlib.asynccontextmanager
async def start_workers(configs: Iterable[WorkerConfig]) -> AsyncGenerator[WorkerPool]:
    """Start a worker for each of *configs*; enter once all are ready, or have ended."""
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(_start_worker(number, config))
            for number, config in enumerate(configs, start=1)
        ]
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.prepare)
        yield WorkerPool(workers)


@final
class WorkerPool:
    """Sends the requests from several workers."""

    def __init__(self, workers: list[Worker]) -> None:
        self.requests: Final = sum(worker.requests for worker in workers)
        self.processes: Final = len(workers)
        self._workers = workers

    @property
    def counts(self) -> Counts:
        """How far they are together."""
        counts = [worker.counts for worker in self._workers]
        return Counts(
            answered=sum(each.answered for each in counts),
            failed=sum(each.failed for each in counts),
            in_flight=sum(each.in_flight for each in counts),
        )

    async def run(self, changed: Callable[[], None]) -> tuple[Outcome, ...]:
        """Send everything; call *changed* when `counts` has changed."""
        outcomes: dict[int, Outcome] = {}

        async def run_one(worker: Worker) -> None:
            outcomes[worker.number] = await worker.run(changed)

        async with anyio.create_task_group() as tasks:
            for worker in self._workers:
                tasks.start_soon(run_one, worker)
        return tuple(outcomes[worker.number] for worker in self._workers)


#: The processes that send the requests: this one, or several workers.
Senders: TypeAlias = LoadGenerator | WorkerPool


@final
class Worker:
    """
    One worker process.

    Args:
        number: Its number, from 1.
        config: What it is told to do.
        process: The process.
        stderr: The file that its stderr goes to.
    """

    def __init__(
        self, number: int, config: WorkerConfig, process: Process, stderr: IO[bytes]
    ) -> None:
        self.number: Final = number
        self.requests: Final = config.workload.requests
        self.counts = Counts()
        self._config = config
        self._process = process
        self._stderr = stderr
        # Both are pipes.
        self._stdout = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
        self._stdin = cast("ByteSendStream", process.stdin)

    async def prepare(self) -> None:
        """Send the config, and wait until the worker is ready to start."""
        await self._send(self._config.encode())
        await self._receive()

    async def run(self, changed: Callable[[], None]) -> Outcome:
        """Start the requests and wait for the outcome; call *changed* when `counts` has changed."""
        await self._send(b"\n")
        report = await self._receive()
        while isinstance(report, Counts):
            self.counts = report
            changed()
            report = await self._receive()
        with anyio.move_on_after(_EXIT_TIMEOUT):
            await self._process.wait()
        outcome = report or self._crash_outcome()
        self.counts = Counts(answered=outcome.answered, failed=outcome.failed)
        changed()
        return outcome

    async def _send(self, line: bytes) -> None:
        # If the worker has ended, so has its stdout: `_receive` will notice.
        with contextlib.suppress(anyio.BrokenResourceError):
            await self._stdin.send(line)

    async def _receive(self) -> Report | None:
        """Return the next report; None if the worker has ended."""
        try:
            return decode_report(await self._stdout.receive_until(b"\n", _MAX_LINE))
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return None

    def _crash_outcome(self) -> Outcome:
        """Return the outcome of a worker that ended before its requests did."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        reason = f"worker {self.number} ended with exit code {self._process.returncode}: {last}"
        lost = self.requests - self.counts.answered
        return Outcome(answered=self.counts.answered, failures=((reason, lost),) if lost else ())


@contextlib.asynccontextmanager
async def _start_worker(number: int, config: WorkerConfig) -> AsyncGenerator[Worker]:
    with tempfile.TemporaryFile() as stderr:
        process = await anyio.open_process(
            # -P keeps the working directory off its path, which is the one of this process.
            [sys.executable, "-P", "-m", _PROGRAM],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(_absolute, sys.path))},
            stderr=stderr,
            # Ctrl-C on a terminal is for this process, which ends the worker.
            start_new_session=True,
        )
        try:
            yield Worker(number, config, process, stderr)
        finally:
            with anyio.CancelScope(shield=True):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.aclose()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
