"""Start workers as real processes, talk to them, stop them and kill them, and leave none behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import signal
import subprocess
import sys
import threading

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self, final

import attrs

from taxizer_async.testing import Sandbox
from tests.support import families
from tests.support.families import PATIENCE


_PROGRAM = Path(__file__).with_name("worker.py")
#: Seconds of a policy that does not take a stall of a busy worker for a failure of its store.
STORE_TIMEOUT = 20.0
PATIENT = {"store_timeout": STORE_TIMEOUT}


@attrs.frozen(kw_only=True)
class WorkerConfig:
    """
    The configuration of a worker.

    Attributes:
        store: Its kind ("file", "redis", "cluster" or "sentinel"), and where it is.
        encryption_key: The store's.
        backend: The event loop.
        policy: Arguments of `RenewalPolicy`.
        keep_fresh: Whether it runs that.
        wall_offset: Seconds that its wall clock is ahead.
        pause: Seconds between two requests of a coroutine.
        auths: How many auths it has, each with a store of its own; coroutines take turns with them.
        client_secret: Its secret, if that is not the sandbox's.
        asks: Whether its credentials come from a callable.
        proxy: What its logins go through.
        base_url: Where it logs in, if that is not the sandbox itself.
        api: Where its requests go to, if that is not `base_url`.
        timeout: Seconds that a request waits for the API.
    """

    store: tuple[str, str]
    encryption_key: str | None = None
    backend: str = "asyncio"
    policy: Mapping[str, float] = attrs.field(factory=PATIENT.copy)
    keep_fresh: bool = False
    wall_offset: float = 0.0
    pause: float = 0.02
    auths: int = 1
    client_secret: str | None = None
    asks: bool = False
    proxy: str | None = None
    base_url: str | None = None
    api: str | None = None
    timeout: float = 90.0


@attrs.frozen(kw_only=True)
class Report:
    """What a worker reports; `longest` is of the requests since its last report."""

    what: str
    sent: int
    failures: list[str]
    first_served: float
    last_served: float
    last_answered: float
    failed: list[float]
    logins: int
    renewals: int
    adoptions: int
    events: list[str]
    longest: float
    tasks: int


@final
class Worker:
    """One process, for the length of a `with`."""

    def __init__(
        self, sandbox: Sandbox, config: WorkerConfig, note_exchange: Callable[[Worker, float], None]
    ) -> None:
        self._note_exchange = note_exchange
        base_url = config.base_url or sandbox.base_url
        content = attrs.asdict(config) | {
            "base_url": base_url,
            "api": config.api or base_url,
            "client_id": sandbox.credentials.client_id,
            "client_secret": config.client_secret or sandbox.credentials.client_secret.reveal(),
        }
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._process = families.start(
            [sys.executable, str(_PROGRAM), json.dumps(content)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert self._process.stdout is not None
            self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
            self._reader.start()
        except BaseException:
            families.end(self._process)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def expect(self, what: str) -> dict[str, Any]:
        """Return the worker's next answer."""
        answer = self._answers.get(timeout=PATIENCE)
        assert answer is not None, "the worker has ended"
        assert answer["what"] == what
        return answer

    def order(self, command: str) -> None:
        """Send *command*."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def report(self) -> Report:
        """Return the answer to a command."""
        return Report(**self.expect("told"))

    def ask(self, command: str) -> Report:
        """Send *command*, and return its answer."""
        self.order(command)
        return self.report()

    def start_load(self, tasks: int) -> None:
        """Make the worker send requests until it is told to stop."""
        self.order(f"load {tasks}")
        self.expect("loading")

    def kill(self) -> None:
        """Kill the worker, even if it is stopped or has ended."""
        families.end(self._process)
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Make the worker exit; return its exit code."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self._process.wait(PATIENCE)

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            answer = json.loads(line)
            if answer["what"] == "exchange":
                self._note_exchange(self, answer["at"])
            else:
                self._answers.put(answer)
        self._answers.put(None)


@final
class Fleet:
    """
    The workers of one *sandbox*, which end with it.

    Attributes:
        exchanges: When workers began an exchange (`time.monotonic`, which all processes share) ...
        last_exchanging: ... and which worker did last.
    """

    def __init__(self, sandbox: Sandbox, config: WorkerConfig) -> None:
        self.sandbox = sandbox
        self.config = config
        self.workers: list[Worker] = []
        self.exchanges: list[float] = []
        self.last_exchanging: Worker | None = None
        self._exchanging: queue.Queue[Worker] = queue.Queue()
        self._all = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._all:
            codes = [worker.end() for worker in self.workers] if kind is None else []
        assert not any(codes), f"workers ended with {codes}"

    def start(self, number: int, **changes: Any) -> list[Worker]:
        """Start *number* workers, and return them once all are ready."""
        config = attrs.evolve(self.config, **changes)
        new = []
        for _ in range(number):
            worker = self._all.enter_context(Worker(self.sandbox, config, self._note_exchange))
            new.append(worker)
        self.workers += new
        for worker in new:
            worker.expect("ready")
        return new

    def kill(self, worker: Worker) -> None:
        """Kill *worker* and remove it from the fleet."""
        self.workers.remove(worker)
        worker.kill()
        if self.last_exchanging is worker:
            self.last_exchanging = None

    def wait_for_exchange(self, seconds: float = PATIENCE) -> Worker:
        """Return the worker whose request reaches the server next, and is not answered yet."""
        while not self._exchanging.empty():
            self._exchanging.get_nowait()
        before = self.sandbox.counters.exchanges
        worker = self._exchanging.get(timeout=seconds)
        self.sandbox.wait_until(lambda counters: counters.exchanges > before, seconds)
        return worker

    def gaps(self) -> list[float]:
        """Return the seconds between the moments at which workers began two exchanges."""
        return [later - earlier for earlier, later in itertools.pairwise(sorted(self.exchanges))]

    def ask_all(self, command: str) -> list[Report]:
        """Send *command* to all at once, and return their answers."""
        for worker in self.workers:
            worker.order(command)
        return [worker.report() for worker in self.workers]

    def start_load(self, tasks: int) -> None:
        for worker in self.workers:
            worker.start_load(tasks)

    def _note_exchange(self, worker: Worker, at: float) -> None:
        self.exchanges.append(at)
        self.last_exchanging = worker
        self._exchanging.put(worker)
