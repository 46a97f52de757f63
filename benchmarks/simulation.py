"""
A crowd of workers on a virtual clock: the package's own providers over one store that counts its commands.

Nothing of the package is imitated but the network and the client of Redis. The store serves one command after
the other, as Redis does, and answers after a round trip; a command that is not answered in time is sent once
more, as `RedisTokenStore` does. Credentials are given by value, so there is no thread.
"""

from __future__ import annotations

import itertools
import math
import random

from typing import TYPE_CHECKING, Any, Final, Literal, final

import anyio
import attrs

from benchmarks.bench import undisturbed
from benchmarks.counted_store import CountedStore
from benchmarks.virtual_time import VirtualClock, VirtualLoop
from taxizer_async import Credentials, RenewalPolicy, Secret, TaxizerError, Token, TokenStoreError
from taxizer_async._core.events import Adopted, LoggedIn, Renewed, StoreFailed
from taxizer_async._core.exchange import Issued, Refused, Unavailable
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import MemoryTokenStore, StoreKey, TokenRecord
from taxizer_async.stores._protocol import HEARTBEAT
from taxizer_async.stores._redis_calls import ANSWER_TIMEOUT, CONNECT_TIMEOUT


if TYPE_CHECKING:
    from taxizer_async._core.events import Event
    from taxizer_async._core.exchange import Outcome, RetryBudget


Case = Literal["cold start", "renewal", "outage", "wrong secret"]
CASES: Final[tuple[Case, ...]] = ("cold start", "renewal", "outage", "wrong secret")
#: Seconds that the token endpoint takes.
LOGIN: Final = 0.3
#: Seconds that a command is on its way, both ways together.
ROUND_TRIP: Final = 0.001
#: Seconds that a token lasts, and how many are left when a renewal is simulated: before the first worker renews.
LIFETIME: Final = 3_600.0
_LEFT: Final = 360.0
_BASE_URL: Final = "https://api.test"
_PAIR: Final = Credentials("the-app", "the-secret")


@attrs.frozen(kw_only=True)
class Course:
    """
    What happened in a simulation.

    Attributes:
        workers: How many there were.
        commands: When each command reached the store, in seconds from the start.
        asked: When each request reached the token endpoints.
        served: When each worker had its token.
        failed: When each of the others had its failure.
        unserved: How many workers found the store too slow.
    """

    workers: int
    commands: list[float]
    asked: list[float]
    served: list[float]
    failed: list[float]
    unserved: int

    @property
    def per_worker(self) -> float:
        """Commands of a worker, on average."""
        return len(self.commands) / self.workers

    @property
    def ends(self) -> list[float]:
        """When each worker had its token or its failure."""
        return [*self.served, *self.failed]

    @property
    def last(self) -> float:
        """When the last of them had."""
        return max(self.ends)

    def rates(self, width: float) -> list[tuple[float, float]]:
        """Return the commands per second in each stretch of *width* seconds, with its beginning."""
        counts = [0] * (math.floor(max(self.commands, default=0.0) / width) + 1)
        for at in self.commands:
            counts[math.floor(at / width)] += 1
        return [(number * width, count / width) for number, count in enumerate(counts)]

    def peak(self, width: float = 1.0) -> float:
        """Return the most commands per second, over *width* seconds."""
        return max(rate for _, rate in self.rates(width))


@final
class _World:
    """The clock, the server and the store of one simulation."""

    def __init__(self, case: Case, capacity: float, seed: int) -> None:
        self.clock = VirtualClock()
        self.random: Final = random.Random(seed)  # noqa: S311 - not for secrets
        self.policy: Final = RenewalPolicy()
        self.inner: Final = MemoryTokenStore(clock=self.clock)
        self.key: Final = StoreKey(_BASE_URL, _PAIR.client_id)
        self.commands: list[float] = []
        self.asked: list[float] = []
        self._case: Final = case
        self._per_command: Final = 1 / capacity
        self._busy_until = 0.0

    async def serve(self, patience: float) -> bool:
        """Serve one command; return whether it is answered within *patience* seconds."""
        now = self.clock.monotonic()
        self.commands.append(now)
        self._busy_until = max(now, self._busy_until) + self._per_command
        elapsed = self._busy_until - now + ROUND_TRIP
        await anyio.sleep(min(elapsed, patience))
        return elapsed <= patience

    async def connect(self, _: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in, again and again while the server is out of order."""
        began = self.clock.monotonic()
        for attempt in itertools.count(1):
            outcome = await self._ask(began)
            if not (isinstance(outcome, Unavailable) and budget.wants_more(outcome)):
                break
            pause = self.policy.retry_wait(attempt, self.random.random(), None)
            if self.clock.monotonic() + pause >= budget.deadline:
                break
            await anyio.sleep(pause)
        return outcome

    async def refresh(self, _: Secret, __: RetryBudget, /) -> Outcome:
        """Renew."""
        return await self._ask(self.clock.monotonic())

    async def _ask(self, began: float) -> Outcome:
        requested_at = self.clock.monotonic()
        self.asked.append(requested_at)
        await anyio.sleep(LOGIN)
        if self._case == "outage":
            return Unavailable(reason="it answered 503", status_code=503)
        if self._case == "wrong secret":
            return Refused(status_code=400)
        return Issued(
            token=self.token(),
            lifetime=LIFETIME,
            refresh_lifetime=None,
            requested_at=requested_at,
            elapsed=self.clock.monotonic() - began,
        )

    def token(self) -> Token:
        """Return a token that there has not been yet."""
        number = len(self.asked)
        return Token(jwt=Secret(f"jwt-{number}"), refresh_token=Secret(f"refresh-{number}"))

    async def put_old_record(self) -> None:
        """Put a token into the store that is about to be renewed."""
        record = TokenRecord(
            token=self.token(),
            version="the first",
            lifetime=LIFETIME,
            refresh_lifetime=None,
            age=LIFETIME - _LEFT,
            refresh_spent=False,
        )
        lease = await self.inner.lease(self.key)
        assert lease is not None
        await self.inner.save(self.key, record, lease)
        await lease.release()

    def start_over(self) -> None:
        """Forget what was counted."""
        self.commands.clear()
        self.asked.clear()


@final
class _Worker:
    """A process with one auth; notes when it gets tokens."""

    def __init__(self, world: _World) -> None:
        self._world = world
        self.changed = anyio.Event()
        self.found_store_slow = False
        self._is_connected = False
        self.served_at: float | None = None
        self.failed_at: float | None = None
        # The log is only told; its listeners would take a task each.
        event_log: Any = self
        self.provider = TokenProvider(
            endpoints=Endpoints(base_url=_BASE_URL, connect=_BASE_URL, refresh=_BASE_URL),
            credentials=CredentialsSource(_PAIR),
            exchange=world,
            store=CountedStore(world.inner, serve=self._send, heartbeat=HEARTBEAT),
            policy=world.policy,
            clock=world.clock,
            random=world.random.random,
            event_log=event_log,
        )

    async def _send(self) -> None:
        """Send a command, as `stores._redis_calls` does."""
        if self._is_connected and await self._world.serve(ANSWER_TIMEOUT):
            return
        self._is_connected = await self._world.serve(CONNECT_TIMEOUT)
        if not self._is_connected:
            msg = "no answer in time"
            raise TokenStoreError(msg)

    def emit(self, event: Event) -> None:
        """Hear of *event*."""
        self.found_store_slow |= isinstance(event, StoreFailed)
        if isinstance(event, (Adopted, LoggedIn, Renewed)):
            self.served_at = self._world.clock.monotonic()
            self.changed.set()

    async def get(self) -> None:
        """Ask for a token, as the first request does."""
        try:
            await self.provider.acquire()
        except TaxizerError:
            self.failed_at = self._world.clock.monotonic()

    async def renew(self) -> None:
        """Keep the token fresh until it has been renewed once."""
        self.changed, self.served_at = anyio.Event(), None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.provider.keep_fresh)
            await self.changed.wait()
            tasks.cancel_scope.cancel()


def simulate(case: Case, workers: int, *, capacity: float, seed: int = 1) -> Course:
    """
    Let *case* happen to *workers* at the same moment.

    Args:
        case: A cold start; a renewal of a token that lasts 1 h, with `keep_fresh`; a cold start while the
            endpoint answers 503; one with credentials that it refuses.
        workers: How many there are.
        capacity: Commands per second that the store can serve.
        seed: For the jitter.
    """
    options = {"loop_factory": VirtualLoop}
    # Garbage collection would take most of the time, as it looks at ten thousand workers each time.
    with undisturbed():
        return anyio.run(_simulate, case, workers, capacity, seed, backend_options=options)


async def _simulate(case: Case, workers: int, capacity: float, seed: int) -> Course:
    world = _World(case, capacity, seed)
    with world.clock.everywhere():
        crowd = [_Worker(world) for _ in range(workers)]
        if case == "renewal":
            await world.put_old_record()
            await _at_once(crowd, renews=False)
            world.start_over()
        began = world.clock.monotonic()
        await _at_once(crowd, renews=case == "renewal")
    return Course(
        workers=workers,
        commands=[at - began for at in world.commands],
        asked=[at - began for at in world.asked],
        served=[each.served_at - began for each in crowd if each.served_at is not None],
        failed=[each.failed_at - began for each in crowd if each.failed_at is not None],
        unserved=sum(each.found_store_slow for each in crowd),
    )


async def _at_once(crowd: list[_Worker], *, renews: bool) -> None:
    async with anyio.create_task_group() as tasks:
        for worker in crowd:
            tasks.start_soon(worker.renew if renews else worker.get)
