"""
The worker processes of the demo and the store that they share, as the parent process sees them.

Both end with the context that they were started in.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import IO, Final, TypeAlias, cast, final

import anyio
import anyio.to_thread
import attrs

from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from taxizer_async._cli.demo.load import Counts, LoadGenerator, Workload
from taxizer_async._cli.demo.redis_server import RedisServer, find_redis_server
from taxizer_async._cli.demo.worker import decode_counts, encode_workload
from taxizer_async._cli.store_config import SharedStore, StoreConfig, StoreKind
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


_PROGRAM: Final = "taxizer_async._cli.demo.worker"
#: Bytes; the last counts hold a latency per request.
_MAX_LINE: Final = 1 << 26
#: Seconds that a worker may take to end after its last request.
_EXIT_TIMEOUT: Final = 10.0


@attrs.frozen(kw_only=True)
class Workers:
    """A *number* of processes that send the requests in place of this one, and share their token in a *store*."""

    number: int
    store: SharedStore
    backend: str


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
        await anyio.to_thread.run_sync(server.start, abandon_on_cancel=True)
        yield StoreConfig(kind=StoreKind.REDIS, redis_url=Secret(server.url))


@contextlib.asynccontextmanager
async def start_workers(
    workloads: Sequence[Workload], backend: str
) -> AsyncGenerator[Sequence[Worker]]:
    """Start a worker for each of *workloads*; enter once all are ready, or have ended."""
    workers: list[Worker] = []
    async with contextlib.AsyncExitStack() as stack:
        for number, workload in enumerate(workloads, start=1):
            stderr = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by it
            process = await anyio.open_process(
                # -P keeps the working directory off its path, which is the one of this process.
                [sys.executable, "-P", "-m", _PROGRAM, backend],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                stderr=stderr,
                # Ctrl-C on a terminal is for this process, which ends the worker.
                start_new_session=True,
            )
            stack.push_async_callback(_end, process)
            workers.append(Worker(number, workload, process, stderr))
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.prepare)
        yield workers


@final
class Worker:
    """The *process* of a worker, which sends *workload*; its stderr goes to a file."""

    def __init__(
        self, number: int, workload: Workload, process: Process, stderr: IO[bytes]
    ) -> None:
        self.requests: Final = workload.requests
        #: What it has done so far.
        self.counts = Counts()
        self._number = number
        self._workload = workload
        self._process = process
        self._stderr = stderr
        # Both are pipes.
        self._stdout = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
        self._stdin = cast("ByteSendStream", process.stdin)

    async def prepare(self) -> None:
        """Send the workload, and wait until the worker is ready to start."""
        await self._send(encode_workload(self._workload))
        await self._receive()

    async def run(self) -> None:
        """Start the requests, and wait until all are done or the worker has ended."""
        await self._send(b"\n")
        while not self.counts.latencies and await self._receive():
            pass
        with anyio.move_on_after(_EXIT_TIMEOUT):
            await self._process.wait()
        lost = self.requests - self.counts.done
        if lost:
            failures = self.counts.failures | {self._read_reason(): lost}
            self.counts = attrs.evolve(self.counts, failures=failures, in_flight=0)

    async def _send(self, line: bytes) -> None:
        # If the worker has ended, so has its stdout: `_receive` will notice.
        with contextlib.suppress(anyio.BrokenResourceError):
            await self._stdin.send(line)

    async def _receive(self) -> bool:
        """Read the next counts; return False if the worker has ended."""
        try:
            line = await self._stdout.receive_until(b"\n", _MAX_LINE)
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        self.counts = decode_counts(line)
        return True

    def _read_reason(self) -> str:
        """Return why the worker ended before its requests were done."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"worker {self._number} ended with exit code {self._process.returncode}: {last}"


#: What sends requests: this process, or a worker.
Sender: TypeAlias = LoadGenerator | Worker


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.aclose()
