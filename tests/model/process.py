"""A simulated process: a real provider behind a real auth, with the network's part in our hands."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Any

import anyio
import attrs

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async._outcomes import Outcome, Unavailable
from taxizer_async._reporter import Reporter
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.errand import Endpoints
from taxizer_async._token.provider import TokenProvider
from tests.model.checks import Watch
from tests.model.server import CANARY, Grant, Mood
from tests.model.store import LeaseState, View


if TYPE_CHECKING:
    import random

    from collections.abc import Callable

    from taxizer_async import Secret
    from taxizer_async._outcomes import Effort, Issued
    from taxizer_async._token.cached_token import CachedToken
    from taxizer_async._token.errand import Errand
    from taxizer_async._token.failures import Failure
    from taxizer_async._token.lease_wait import Renewal
    from taxizer_async._token.single_flight import Airfield
    from taxizer_async.testing import ManualClock
    from tests.model.world import World


BASE_URL = "https://api.test"
CLIENT_ID = "the-app"
#: `lease_poll` sleeps no longer; `keep_fresh` does.
_LONGEST_POLL = 0.031


@attrs.define(eq=False, kw_only=True)
class Asking:
    """An exchange under way."""

    process: Process
    kind: str
    secret: str
    asked_at: float
    asked_wall: float
    deadline: float
    lease: LeaseState
    gate: anyio.Event = attrs.field(factory=anyio.Event)
    processed: bool = False
    grant: Grant | None = None
    outcome: Outcome | None = None
    #: Set if the leader is to be found between what it received and its return.
    dawdle: anyio.Event | None = None


class ProcessClock:
    """Counts who waits for a lease."""

    def __init__(self, clock: ManualClock) -> None:
        self.monotonic = clock.monotonic
        self.wall = clock.wall
        self._sleep = clock.sleep
        self.pollers = 0

    async def sleep(self, seconds: float, /) -> None:
        polls = seconds <= _LONGEST_POLL
        self.pollers += polls
        try:
            await self._sleep(seconds)
        finally:
            self.pollers -= polls


class _Given:
    """Credentials by value: a source that needs no thread, which would run when it likes."""

    def __init__(self, credentials: Credentials) -> None:
        self.fixed = credentials

    async def ask(self) -> Credentials:
        return self.fixed


class _Errands:
    """Notes when an errand begins."""

    def __init__(self, process: Process, renewal: Renewal) -> None:
        self._process = process
        self._renewal = renewal
        self.key = renewal.key

    async def run(self, errand: Errand, airfield: Airfield) -> CachedToken | Failure | None:
        self._process.errand_begins()
        try:
            return await self._renewal.run(errand, airfield)
        finally:
            self._process.errands += 1


class Process:
    """One provider, and the exchange that it has."""

    def __init__(self, number: int, world: World, rng: random.Random) -> None:
        self.number = number
        self.world = world
        self.clock = ProcessClock(world.clock)
        self.view = View(world.shelf)
        self.given = f"{CANARY}-secret-0"
        self.vault_down = False
        self.asking: list[Asking] = []
        #: The first has its credentials by value, the second asks for them.
        self.fixed = number == 0
        policy = RenewalPolicy()
        source: Any = _Given(Credentials(CLIENT_ID, self.given))
        if not self.fixed:
            source = CredentialsSource(self._from_vault)
        self.provider = TokenProvider(
            endpoints=Endpoints(base_url=BASE_URL, connect=BASE_URL, refresh=BASE_URL),
            credentials=source,
            exchange=self,
            store=self.view,
            policy=policy,
            clock=self.clock,
            random=rng.random,
            reporter=Reporter(None, timeout=policy.hook_timeout),
        )
        inside: Any = self.provider
        inside._renewal = _Errands(self, inside._renewal)
        #: When its last errand began.
        self.errand_since = 0.0
        self._errand_offset = 0.0
        #: How many have ended.
        self.errands = 0
        self.watch = Watch(self)
        self.auth = TaxizerAuth(
            Credentials(CLIENT_ID, self.given), base_url=BASE_URL, clock=self.clock
        )
        inside = self.auth.flow
        inside.provider, inside._fresh = self.watch, self.provider.fresh

    def __repr__(self) -> str:
        return f"P{self.number}"

    @property
    def held(self) -> CachedToken | None:
        """The token that it has, good or not."""
        return self.provider._cache.state.cached

    def alive(self) -> bool:
        """Whether it has one that is neither dead nor refused."""
        return self.provider._cache.alive() is not None

    def remaining(self) -> float:
        """Seconds that it lives, as far as the process knows."""
        held = self.provider._cache.alive()
        return 0.0 if held is None else held.remaining(self.clock)

    def errand_begins(self) -> None:
        """Note the time."""
        self.errand_since = self.clock.monotonic()
        self._errand_offset = self.clock.wall() - self.clock.monotonic()
        self.watch.forgets_at_errand = self.watch.forgets

    @property
    def errand_jumped(self) -> bool:
        """Whether the wall clock was set since then, so that a dead token may have come to life."""
        return abs(self.clock.wall() - self.clock.monotonic() - self._errand_offset) > 0.1

    async def connect(
        self, credentials: Credentials, effort: Effort, received: Callable[[Issued], None], /
    ) -> Outcome:
        return await self._ask("connect", credentials.client_secret.reveal(), effort, received)

    async def refresh(
        self, refresh_token: Secret, effort: Effort, received: Callable[[Issued], None], /
    ) -> Outcome:
        return await self._ask("refresh", refresh_token.reveal(), effort, received)

    async def _ask(
        self, kind: str, secret: str, effort: Effort, received: Callable[[Issued], None]
    ) -> Outcome:
        now = self.world.clock.monotonic()
        seconds = min(10.0, max(1.0, round(effort.deadline - anyio.current_time())))
        asking = Asking(
            process=self,
            kind=kind,
            secret=secret,
            asked_at=now,
            asked_wall=self.world.clock.wall(),
            deadline=now + seconds,
            lease=self.view.state,
        )
        self.watch.asking(asking)
        self.asking.append(asking)
        self.world.note(f"{self} asks {kind} {secret[-12:]} ({asking.lease.name})")
        outcome: Outcome | None = None
        try:
            await asking.gate.wait()
            assert asking.outcome is not None
            if asking.grant is not None and not isinstance(asking.outcome, Unavailable):
                outcome = asking.outcome
                received(self.world.server.issued(asking.grant))
                if asking.dawdle is not None:
                    await asking.dawdle.wait()
            outcome = asking.outcome
            return outcome
        finally:
            self.asking.remove(asking)
            if asking.grant is not None:
                self.world.server.arrive(asking.grant)
            self.watch.asked(asking, outcome)

    async def _from_vault(self) -> Credentials:
        await self.world.shelf.pause()
        if self.vault_down:
            raise OSError(CANARY)
        return Credentials(CLIENT_ID, self.given)


def process_request(asking: Asking) -> None:
    """Have the server do what is asked, without an answer yet."""
    if asking.processed:
        return
    asking.processed = True
    asked = (asking.asked_at, asking.asked_wall, asking.lease is LeaseState.HELD)
    asking.grant = asking.process.world.server.process(asking.kind, asking.secret, asked=asked)


def answer(asking: Asking, mood: Mood, *, dawdle: bool = False) -> None:
    """Have the server answer as it does in this *mood*."""
    server = asking.process.world.server
    if asking.processed and mood is not Mood.FINE:
        mood = Mood.EATEN
    if mood is Mood.EATEN:
        process_request(asking)
    if mood is Mood.FINE:
        process_request(asking)
        if asking.grant is None:
            asking.outcome = server.failure(Mood.REFUSING)
        else:
            asking.outcome = server.issued(asking.grant)
            asking.dawdle = anyio.Event() if dawdle else None
    else:
        asking.grant = None
        asking.outcome = server.failure(mood)
    asking.gate.set()


def time_out(asking: Asking) -> None:
    """Have the client give up, whether or not the server has done it."""
    asking.grant = None
    asking.outcome = Unavailable(reason="no answer within 10 s")
    asking.gate.set()


def age_of(grant: Grant, clock: ManualClock) -> float:
    """Return the age of *grant* as a client reckons it."""
    passed = clock.monotonic() - grant.asked_at
    return max(passed, clock.wall() - grant.asked_wall, 0.0)


def is_over(grant: Grant, clock: ManualClock) -> bool:
    """Say whether a client takes *grant* to be dead."""
    return not math.isinf(grant.believed) and age_of(grant, clock) >= grant.believed + 1e-3
