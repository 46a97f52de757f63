"""Many workers at full speed, through auths that live for the whole soak and clients that come and go."""

from __future__ import annotations

import collections
import time

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, final

import anyio
import anyio.lowlevel
import httpx

from taxizer_async import Credentials, MemoryTokenStore, TaxizerAuth, TaxizerClient, TaxizerError
from tests.campaigns.soak.caller import CANCELLED_WITHIN, Caller, Member
from tests.campaigns.soak.judge import STUCK_AFTER, Judge
from tests.campaigns.soak.weather import LONGEST_BACKOFF, POLICY


if TYPE_CHECKING:
    import random

    from collections.abc import Awaitable, Callable, Iterator

    from anyio.abc import TaskGroup

    from taxizer_async import Event


#: What the sandbox accepts.
CREDENTIALS: Final = Credentials("sandbox-client", "sandbox-secret")
#: A context is costly to make, and loopback needs none.
_TLS: Final = httpx.create_ssl_context()
_HTTP_TIMEOUT: Final = 60.0
#: Workers that share a client: in a large crowd httpx lets a request wait for a connection for
#: seconds on a busy machine, with a token that it was given before.
_AT_ONE_CLIENT: Final = 5
#: Clients that come and go, at a time.
VISITORS: Final = 4
_LONGEST_VISIT: Final = 40
#: The share of visits that is cancelled.
_CANCELLED: Final = 0.1


@final
class Crew:
    """
    All that send requests.

    Args:
        base_url: Where to.
        judge: Hears of each request.
        rng: Draws what is random here.
        workers: How many there are for each auth that stays, in fives.
    """

    def __init__(self, base_url: str, judge: Judge, rng: random.Random, workers: int) -> None:
        self.events: Final[collections.Counter[str]] = collections.Counter()
        self.visits = 0
        self._base_url = base_url
        self._judge = judge
        self._rng = rng
        self._caller = Caller(judge, rng)
        self._workers = workers
        self._open = False
        self._store = MemoryTokenStore()
        self._shared = Member("the shared auth", self._auth(self._count))
        self._kept = Member("the auth that is kept fresh", self._auth(self._count_later))
        self._keeping: anyio.CancelScope | None = None
        self._visitors: set[Member] = set()

    @property
    def members(self) -> list[Member]:
        """All members that there are now."""
        return [self._shared, self._kept, *self._visitors]

    async def run(self, direct: Callable[[], Awaitable[None]]) -> None:
        """Send requests for as long as *direct* runs; all clients are closed in the end."""
        self._open = True
        async with AsyncExitStack() as stack, anyio.create_task_group() as keeping:
            keeping.start_soon(self._keep_fresh)
            async with anyio.create_task_group() as working:
                for member, make_client in self._posts():
                    client = await stack.enter_async_context(make_client())
                    for _ in range(_AT_ONE_CLIENT):
                        working.start_soon(self._work, member, client)
                for _ in range(VISITORS):
                    working.start_soon(self._visit_on_and_on)
                await direct()
                self._open = False
            self.restart_keeper()

    async def calm_down(self) -> None:
        """Bring the members that stay into a state that does not depend on what happened before."""
        self._store = MemoryTokenStore()
        for member in (self._shared, self._kept):
            try:
                with anyio.fail_after(STUCK_AFTER):
                    await member.auth.forget()
                    await member.auth.token()
            except (TaxizerError, TimeoutError) as error:
                self._judge.violate(f"{member.name} gets no token, though all is well: {error!r}")

    async def forget(self) -> None:
        """Have all tokens forgotten."""
        for member in self.members:
            await member.auth.forget()

    def cancel(self, share: float) -> None:
        """Cancel that *share* of the requests under way."""
        for member in self.members:
            for scope in tuple(member.scopes):
                if self._rng.random() < share:
                    scope.cancel()

    def restart_keeper(self) -> None:
        """Cancel `keep_fresh`; it is started again as long as requests are sent."""
        if self._keeping is not None:
            self._keeping.cancel()

    def check_backoff(self) -> None:
        """Check that no auth remembers a failure for longer than the policy says."""
        for member in self.members:
            retry_at = member.auth.status().retry_at
            wait = (retry_at - datetime.now(UTC)).total_seconds() if retry_at else 0.0
            if wait > LONGEST_BACKOFF:
                self._judge.violate(f"{member.name} backs off for {wait:.2f} s")

    async def all_served(self, within: float) -> float:
        """Wait until each member was served once more, and return the seconds that took."""
        # Later visitors must not find the tokens of now.
        self._store = MemoryTokenStore()
        members, began = self.members, time.monotonic()
        for member in members:
            member.expect()
        with anyio.move_on_after(within):
            for member in members:
                await member.served.wait()
        waiting = [member.name for member in members if not member.served.is_set()]
        if waiting:
            self._judge.violate(f"not served again within {within:g} s: {', '.join(waiting)}")
            self._judge.hopeless = True
        return time.monotonic() - began

    def _posts(self) -> Iterator[tuple[Member, Callable[[], httpx.AsyncClient]]]:
        """Yield the members that stay, with what makes their clients."""
        for _ in range(self._workers // _AT_ONE_CLIENT):
            yield self._shared, self._client_of_shared
            yield self._kept, self._client_of_kept

    def _client_of_shared(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=self._shared.auth, base_url=self._base_url, verify=_TLS, timeout=_HTTP_TIMEOUT
        )

    def _client_of_kept(self) -> httpx.AsyncClient:
        client = self._client(store=None)
        client.auth = self._kept.auth
        return client

    def _client(self, *, store: MemoryTokenStore | None) -> TaxizerClient:
        return TaxizerClient(
            CREDENTIALS,
            base_url=self._base_url,
            store=store,
            policy=POLICY,
            on_event=self._count,
            verify=_TLS,
            timeout=_HTTP_TIMEOUT,
        )

    def _auth(self, on_event: Callable[[Event], Awaitable[None] | None]) -> TaxizerAuth:
        return TaxizerAuth(CREDENTIALS, base_url=self._base_url, policy=POLICY, on_event=on_event)

    def _count(self, event: Event) -> None:
        self.events[type(event).__name__] += 1

    async def _count_later(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self._count(event)

    async def _keep_fresh(self) -> None:
        while self._open:
            with anyio.CancelScope() as self._keeping:
                await self._kept.auth.keep_fresh()

    async def _work(self, member: Member, client: httpx.AsyncClient) -> None:
        while self._open:
            await self._caller.request(member, client)

    async def _visit_on_and_on(self) -> None:
        while self._open:
            self.visits += 1
            with anyio.CancelScope() as scope:
                if self._rng.random() < _CANCELLED:
                    scope.deadline = anyio.current_time() + self._rng.uniform(0.0, CANCELLED_WITHIN)
                await self._visit()

    async def _visit(self) -> None:
        """Open a client, send some requests, and close it."""
        store = self._store if self._rng.random() < 0.5 else None
        client = self._client(store=store)
        member = Member("a visitor", client.auth)
        self._visitors.add(member)
        try:
            async with client, anyio.create_task_group() as keeping:
                await self._stay(member, client, keeping)
                keeping.cancel_scope.cancel()
        finally:
            self._visitors.discard(member)
            member.served.set()

    async def _stay(self, member: Member, client: TaxizerClient, keeping: TaskGroup) -> None:
        if self._rng.random() < 0.3:
            keeping.start_soon(client.auth.keep_fresh)
        for _ in range(self._rng.randint(1, _LONGEST_VISIT)):
            if self._open:
                await self._caller.request(member, client)
