"""
Paced callers of all kinds: on event loops that last, on others that come and go, and on threads without one.

All but a few share one auth and its store in files; so do clients that are opened and closed. The few use an
auth without a store that is kept fresh.
"""

from __future__ import annotations

import functools
import random
import threading
import time

from typing import TYPE_CHECKING, Final, TypeVar, final

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import trio  # noqa: F401 - two threads that import it at once, anyio's way and httpcore's, may both fail

from taxizer_async import SyncTaxizerClient, TaxizerAuth, TaxizerClient, TaxizerError
from taxizer_async.stores.file import FileTokenStore
from tests.campaigns.soak.caller import Caller, Member
from tests.campaigns.soak.crew import CREDENTIALS
from tests.campaigns.soak.judge import STUCK_AFTER, Judge
from tests.support.threads import helper_threads, wait_until


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from anyio.lowlevel import EventLoopToken

    from taxizer_async import Event, RenewalPolicy


_Client = TypeVar("_Client", TaxizerClient, SyncTaxizerClient)

#: A context is costly to make, and loopback needs none.
_TLS: Final = httpx.create_ssl_context()
#: Seconds between two requests of a caller, and between two visits.
_PACE: Final = 0.5
_LONGEST_VISIT: Final = 6
#: Callers on each event loop that lasts, and threads without one.
_CALLERS: Final = 4
_THREADS: Final = 3


async def _listen(_: Event) -> None:
    """Listen on each event loop, which takes a task there."""
    await anyio.lowlevel.checkpoint()


@final
class Traffic:
    """
    All that send requests.

    Args:
        base_url: Where to.
        judge: Hears of each request.
        policy: Of all auths.
        seed: Decides what is random here.
        folder: Where the store's files are.
    """

    def __init__(
        self, base_url: str, judge: Judge, policy: RenewalPolicy, seed: int, folder: Path
    ) -> None:
        self.loops_closed = 0
        #: The event loops that last, by the name of their backend.
        self.lasting: dict[str, EventLoopToken] = {}
        self._base_url = base_url
        self._judge = judge
        self._policy = policy
        self._rng = random.Random(seed)  # noqa: S311 - not for secrets
        self._caller = Caller(judge, self._rng)
        self._folder = folder
        self._stop = threading.Event()
        self._shared = self._auth(FileTokenStore(folder))
        self._kept = self._auth(None)

    async def run(self, direct: Callable[[], Awaitable[None]]) -> None:
        """Send requests for as long as *direct* runs; all clients and event loops are closed in the end."""
        self._stop.clear()
        endless: tuple[Callable[[], None], ...] = (
            functools.partial(anyio.run, self._last, "trio", backend="trio"),
            *[self._call_on_and_on] * _THREADS,
            functools.partial(self._visit_on_and_on, self._visit_asyncio),
            functools.partial(self._visit_on_and_on, self._visit_trio),
            functools.partial(self._visit_on_and_on, self._visit_sync),
        )
        threads = [self._start(each) for each in endless]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._last, "asyncio")
            tasks.start_soon(self._keep_fresh)
            try:
                await direct()
            finally:
                self._stop.set()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        # A token keeps its event loop.
        self.lasting.clear()

    async def forget(self) -> None:
        """Have all tokens that stay forgotten."""
        for auth in (self._shared, self._kept):
            await auth.forget()

    async def calm_down(self) -> None:
        """Bring the auths into a state that does not depend on what happened before."""
        for auth in (self._shared, self._kept):
            try:
                with anyio.fail_after(STUCK_AFTER):
                    # Both, since what each of them needs is made when it is first needed.
                    await auth.forget()
                    await anyio.to_thread.run_sync(auth.sync_token)
                    await auth.forget()
                    await auth.token()
            except (TaxizerError, TimeoutError) as error:
                self._judge.violate(
                    f"{self._member(auth).name} gets no token, though all is well: {error!r}"
                )
        await anyio.to_thread.run_sync(wait_until, lambda: not helper_threads())

    def _start(self, call: Callable[[], None]) -> threading.Thread:
        """Start a thread; an exception that ends it breaks a rule."""

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - it is told
                self._judge.violate(f"a thread ended with {error!r}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _auth(self, store: FileTokenStore | None) -> TaxizerAuth:
        return TaxizerAuth(
            CREDENTIALS, base_url=self._base_url, store=store, policy=self._policy, on_event=_listen
        )

    async def _last(self, backend: str) -> None:
        """Send requests on this event loop until all end."""
        self.lasting[backend] = anyio.lowlevel.current_token()
        async with anyio.create_task_group() as tasks:
            for number in range(_CALLERS):
                tasks.start_soon(self._work, self._kept if number == 0 else self._shared)

    async def _keep_fresh(self) -> None:
        """Keep that auth fresh until all end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._kept.keep_fresh)
            while not self._stop.is_set():  # noqa: ASYNC110 - no event crosses threads
                await anyio.sleep(_PACE)
            tasks.cancel_scope.cancel()

    async def _work(self, auth: TaxizerAuth) -> None:
        member = self._member(auth)
        async with self._client(auth) as client:
            while not self._stop.is_set():
                await self._caller.request(member, client)
                await anyio.sleep(self._pause())

    def _call_on_and_on(self) -> None:
        """Send requests on this thread until all end."""
        with httpx.Client(
            auth=self._shared, base_url=self._base_url, verify=_TLS, timeout=STUCK_AFTER
        ) as client:
            while not self._stop.wait(self._pause()):
                self._request(self._shared, client)

    def _visit_on_and_on(self, visit: Callable[[], None]) -> None:
        """Have a thread each for visits, one after the other, until all end."""
        while not self._stop.wait(self._pause()):
            self._start(visit).join()

    def _visit_asyncio(self) -> None:
        anyio.run(self._visit, backend="asyncio")
        self.loops_closed += 1

    def _visit_trio(self) -> None:
        anyio.run(self._visit, backend="trio")
        self.loops_closed += 1

    async def _visit(self) -> None:
        """Open a client, send some requests, and close it."""
        if self._rng.random() < 0.5:
            own = self._own_client(TaxizerClient)
            await self._stay(self._member(own.auth), own)
        else:
            await self._stay(self._member(self._shared), self._client(self._shared))

    async def _stay(self, member: Member, client: httpx.AsyncClient) -> None:
        async with client, anyio.create_task_group() as tasks:
            if self._rng.random() < 0.3:
                tasks.start_soon(member.auth.keep_fresh)
            for _ in range(self._rng.randint(1, _LONGEST_VISIT)):
                await self._caller.request(member, client)
            tasks.cancel_scope.cancel()

    def _visit_sync(self) -> None:
        """Do so on a thread without an event loop."""
        with self._own_client(SyncTaxizerClient) as client:
            for _ in range(self._rng.randint(1, _LONGEST_VISIT)):
                self._request(client.auth, client)

    def _request(self, auth: TaxizerAuth, client: httpx.Client) -> None:
        """Send one request without an event loop."""
        member = self._member(auth)
        began, token_ends = time.monotonic(), member.token_ends
        try:
            response = client.get("/v1/invoices")
        except Exception as raised:  # noqa: BLE001 - it is judged
            error: Exception | str = raised.with_traceback(None)
        else:
            error = f"HTTP {response.status_code}"
            if response.is_success:
                self._judge.served(began)
                return
        self._judge.failed(member.failure(began, token_ends, error))

    def _member(self, auth: TaxizerAuth) -> Member:
        names = {self._shared: "the shared auth", self._kept: "the auth that is kept fresh"}
        return Member(names.get(auth, "a visitor"), auth)

    def _client(self, auth: TaxizerAuth) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=auth, base_url=self._base_url, verify=_TLS, timeout=STUCK_AFTER
        )

    def _own_client(self, kind: type[_Client]) -> _Client:
        return kind(
            CREDENTIALS,
            base_url=self._base_url,
            store=FileTokenStore(self._folder),
            policy=self._policy,
            verify=_TLS,
            timeout=STUCK_AFTER,
        )

    def _pause(self) -> float:
        return self._rng.uniform(0.5, 1.5) * _PACE
