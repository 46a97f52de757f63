"""A simulated process: a real provider behind a real auth; the simulation plays the network."""

from __future__ import annotations

import itertools
import math

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import ExchangeFailed, TokenRefused
from taxizer_async._core.exchange import Outcome, RetryBudget, Unavailable
from taxizer_async._core.policy import Freshness
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.lease_wait import LeaseWait
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints, NoResult
from tests.campaigns.model.checks import Watch
from tests.campaigns.model.server import BASE_URL, CANARY, CLIENT_ID, Grant, Mood
from tests.campaigns.model.store import LeaseState, View


if TYPE_CHECKING:
    import random

    from taxizer_async import Secret
    from taxizer_async._core.events import Event
    from taxizer_async._token.renewal_request import RenewalRequest, Result
    from taxizer_async._token.single_flight import SharedRefresh
    from taxizer_async.testing import ManualClock
    from tests.campaigns.model.world import World


@attrs.define(eq=False, kw_only=True)
class Asking:
    """An exchange under way."""

    process: Process
    kind: str
    secret: str
    lease: LeaseState
    budget: RetryBudget
    #: When it began.
    began: float
    #: When the request that is under way was sent, and until when it is waited for.
    requested_at: float = 0.0
    deadline: float = 0.0
    gate: anyio.Event = attrs.field(factory=anyio.Event)
    processed: bool = False
    grant: Grant | None = None
    outcome: Outcome | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for the server rather than pausing between two requests."""
        return not self.gate.is_set()


@attrs.define(eq=False, kw_only=True)
class Refresh:
    """A refresh under way that holds the lock."""

    began: float
    #: The numbers of forgets and of broken leases before it.
    forgets: int
    breaks: int
    #: Whether it replaces a refused token, even if that token has turned out to be good since.
    replaces_refused: bool
    #: What it has asked so far, or since it last gave the lease back.
    kinds: list[str] = attrs.field(factory=list)
    #: When it gave the lease back in order to leave it to others for a while.
    yielded_at: float | None = None
    polls: int = 0
    #: Whether callers had no living token when AppRefreshToken had failed.
    owes_login: bool = False


class PollingClock:
    """The clock for waits on a lease; counts the refreshes that sleep on it."""

    def __init__(self, process: Process, clock: ManualClock) -> None:
        self._process = process
        self.monotonic = clock.monotonic
        self.wall = clock.wall
        self._sleep = clock.sleep
        self.pollers = 0

    async def sleep(self, seconds: float, /) -> None:
        self._process.watch.polling(seconds)
        self.pollers += 1
        try:
            await self._sleep(seconds)
        finally:
            self.pollers -= 1


class _WatchedLog:
    """Notes when a failure is recorded or a token is refused."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._event_log = EventLog(None, timeout=5.0)

    def emit(self, event: Event) -> None:
        self._event_log.emit(event)
        if isinstance(event, ExchangeFailed):
            self._process.watch.recording(event)
        elif isinstance(event, TokenRefused):
            self._process.watch.telling_of_refusal(renewing=event.renewing)


class _Given:
    """Credentials by value: a source without a thread, which would run at a random moment."""

    def __init__(self, credentials: Credentials) -> None:
        self.fixed = credentials

    async def ask(self) -> Credentials:
        return self.fixed


class _Refreshes:
    """Notes when a refresh gets the lock, and when it ends."""

    def __init__(self, process: Process, lease_wait: LeaseWait) -> None:
        self._process = process
        self._lease_wait = lease_wait

    async def run(self, request: RenewalRequest, shared: SharedRefresh) -> Result:
        self._process.refresh_begins(request, shared)
        result: Result | None = None
        try:
            result = await self._lease_wait.run(request, shared)
            return result
        finally:
            self._process.refresh_ends(result, shared)


class Process:
    """One provider, with this object as its exchange."""

    def __init__(self, number: int, world: World, rng: random.Random) -> None:
        self.number = number
        self.world = world
        self.clock = PollingClock(self, world.clock)
        self.view = View(world.shelf)
        self.given = f"{CANARY}-secret-0"
        self.vault_down = False
        self.asking: list[Asking] = []
        #: The first has its credentials by value, the second asks for them.
        self.fixed = number == 0
        policy = RenewalPolicy()
        event_log: Any = _WatchedLog(self)
        source: Any = _Given(Credentials(CLIENT_ID, self.given))
        if not self.fixed:
            source = CredentialsSource(self._from_vault)
        self.provider = TokenProvider(
            endpoints=Endpoints(
                base_url=BASE_URL, connect=f"{BASE_URL}/connect", refresh=f"{BASE_URL}/refresh"
            ),
            credentials=source,
            exchange=self,
            store=self.view,
            policy=policy,
            clock=world.clock,
            random=rng.random,
            event_log=event_log,
        )
        inside: Any = self.provider
        lease_wait = LeaseWait(attrs.evolve(inside._renewal, clock=self.clock))
        inside._lease_wait = _Refreshes(self, lease_wait)
        self._drop = self.provider.drop
        inside.drop = self._note_forget
        #: The refresh that holds the lock.
        self.turn: Refresh | None = None
        self.refreshes_begun = self.refreshes_ended = self.requests = 0
        #: How many refreshes have ended with a result that a caller waited for and can use.
        self.results = 0
        #: How many of them brought a JWT at a moment.
        self._brought: Counter[tuple[str, float]] = Counter()
        self.watch = Watch(self)
        self.auth = TaxizerAuth(
            Credentials(CLIENT_ID, self.given), base_url=BASE_URL, clock=world.clock
        )
        inside = self.auth._bearer
        inside.provider, inside.cache = self.watch, self.provider.cache

    def __repr__(self) -> str:
        return f"P{self.number}"

    @property
    def cached(self) -> CachedToken | None:
        """The cached token, good or not."""
        return self.provider.cache.state.cached

    def alive(self) -> bool:
        """Whether the cached token is neither dead nor refused."""
        return self.provider.cache.alive() is not None

    def _holds(self, jwt: str) -> bool:
        return self.cached is not None and self.cached.token.jwt.reveal() == jwt

    def has_token(self) -> bool:
        """Whether it has a token to go on with; a refused one is better than none."""
        return self.alive() or self.provider.cache.refused() is not None

    def has_time(self) -> bool:
        """Whether callers go on with the token that it has, and do not wait for another."""
        return self.provider.cache.freshness() in (Freshness.FRESH, Freshness.RENEW_AHEAD)

    def remaining(self) -> float:
        """Seconds that the token still lives, as far as the process knows."""
        cached = self.provider.cache.alive()
        return 0.0 if cached is None else cached.remaining(self.world.clock)

    @property
    def shared_refresh(self) -> SharedRefresh | None:
        """The refresh that callers wait for, whether or not it holds the lock yet."""
        return self.provider._coordinator()._current

    @property
    def is_busy(self) -> bool:
        """Whether a refresh is under way."""
        return self.turn is not None or self.shared_refresh is not None

    def work(self) -> object:
        """Return a value that differs once the process has done anything."""
        done = self.refreshes_begun, self.refreshes_ended, self.requests, self.view.calls
        return (*done, self.shared_refresh, self.clock.pollers, id(self.provider.cache.state))

    def refresh_begins(self, request: RenewalRequest, shared: SharedRefresh) -> None:
        """Note a refresh that holds the lock now."""
        self.watch.refreshing(request, shared)
        self.refreshes_begun += 1
        self.world.note(f"{self} has refresh {self.refreshes_begun} under way")
        self.turn = Refresh(
            began=shared.began,
            forgets=request.generation,
            breaks=self.world.shelf.breaks,
            replaces_refused=(
                (request.stale is not None and request.stale.refused)
                or shared.began <= self.watch.turned_good_at
                or any(self._holds(jwt) for jwt in self.watch.replacing)
            ),
        )

    def refresh_ends(self, result: Result | None, shared: SharedRefresh) -> None:
        """Note the result of a refresh; None if it was cut short."""
        assert self.turn is not None
        self.watch.refreshed(self.turn, result)
        self.refreshes_ended += 1
        is_forgotten = self.turn.forgets != self.watch.forgets
        is_refused = isinstance(result, CachedToken) and not self.alive()
        # If it hung for too long, its callers were let go, and later ones wait for another.
        is_awaited = not shared.is_over
        if is_awaited and not (is_forgotten or is_refused or isinstance(result, NoResult)):
            self.results += 1
            if isinstance(result, CachedToken):
                self._brought[result.token.jwt.reveal(), self.world.clock.monotonic()] += 1
        self.world.note(f"{self} ends refresh {self.refreshes_begun}: {type(result).__name__}")
        self.turn = None

    def note_refusal(self, cached: CachedToken) -> None:
        """Take a token that is refused at the very moment when it came for none."""
        now = self.world.clock.monotonic()
        self.results -= self._brought.pop((cached.token.jwt.reveal(), now), 0)

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        return await self._ask("connect", credentials.client_secret.reveal(), budget)

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        return await self._ask("refresh", refresh_token.reveal(), budget)

    async def _ask(self, kind: str, secret: str, budget: RetryBudget) -> Outcome:
        asking = Asking(
            process=self,
            kind=kind,
            secret=secret,
            lease=self.view.state,
            budget=budget,
            began=self.world.clock.monotonic(),
        )
        self.watch.asking(asking)
        self.asking.append(asking)
        self.world.note(f"{self} asks {kind} {secret[-12:]} ({asking.lease.name})")
        outcome: Outcome | None = None
        try:
            outcome = await self._converse(asking)
            return outcome
        finally:
            self.asking.remove(asking)
            self.watch.asked(asking, outcome)

    async def _converse(self, asking: Asking) -> Outcome:
        """Ask, and repeat Connect for as long as callers need it."""
        for attempt in itertools.count():
            outcome = await self._attempt(asking)
            if asking.kind == "refresh" or not isinstance(outcome, Unavailable):
                break
            pause = min(4.0, 0.25 * 2.0**attempt)
            if not self.watch.wants_more(asking, outcome):
                break
            if self.world.clock.monotonic() + pause >= asking.budget.deadline:
                break
            await self.world.clock.sleep(pause)
        return outcome

    async def _attempt(self, asking: Asking) -> Outcome:
        clock = self.world.clock
        seconds = min(10.0, asking.budget.deadline - clock.monotonic())
        if seconds <= 0:
            return Unavailable(reason="there was no time left to ask it", not_processed=True)
        self.requests += 1
        asking.requested_at = clock.monotonic()
        asking.deadline = asking.requested_at + seconds
        asking.processed, asking.grant, asking.outcome = False, None, None
        asking.gate = anyio.Event()
        await asking.gate.wait()
        assert asking.outcome is not None
        if asking.grant is not None:
            self.world.server.arrive(asking.grant)
        return asking.outcome

    async def _from_vault(self) -> Credentials:
        await self.world.shelf.pause()
        if self.vault_down:
            raise OSError(CANARY)
        return Credentials(CLIENT_ID, self.given)

    def _note_forget(self) -> None:
        self.watch.forgetting()
        self.world.note(f"{self} forgets")
        self.world.uncover(self)
        self._drop()


def process_request(asking: Asking) -> None:
    """Have the server do what is asked, but not answer yet."""
    if asking.processed:
        return
    asking.processed = True
    asked = (asking.requested_at, asking.lease is LeaseState.HELD)
    asking.grant = asking.process.world.server.process(asking.kind, asking.secret, asked=asked)


def answer(asking: Asking, mood: Mood) -> None:
    """Have the server answer as it does in *mood*."""
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
            asking.outcome = server.issued(asking.grant, began=asking.began)
    else:
        asking.grant = None
        asking.outcome = server.failure(mood)
    asking.gate.set()


def time_out(asking: Asking) -> None:
    """Have the client give up, whether or not the server did what was asked."""
    asking.grant = None
    asking.outcome = Unavailable(reason="no answer within 10 s")
    asking.gate.set()


def age_of(grant: Grant, clock: ManualClock) -> float:
    """Return the age of *grant* as a client reckons it."""
    return clock.monotonic() - grant.requested_at


def is_over(grant: Grant, clock: ManualClock) -> bool:
    """Return whether a client takes *grant* to be dead."""
    return not math.isinf(grant.believed) and age_of(grant, clock) >= grant.believed + 1e-3
