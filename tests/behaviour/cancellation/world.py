"""The surroundings of a cancelled call: an auth with its store and its client, on real sockets."""

from __future__ import annotations

from typing import Self, final

import anyio
import anyio.lowlevel
import attrs
import httpx

from taxizer_async import MemoryTokenStore, TaxizerAuth, TokenState
from taxizer_async._token.credentials_source import CredentialsLike
from taxizer_async._token.single_flight import RefreshCoordinator
from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore
from taxizer_async.stores._protocol import LEASE_SECONDS
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import PATH
from tests.support.limits import HANG


@final
class BusyStore:
    """
    A store that for a time acts as if another client had its lease.

    Args:
        inner: That store.
        leases: So many attempts at the lease fail.
        loads: So many looks into the store find nothing.
    """

    def __init__(self, inner: TokenStore, *, leases: float = 0, loads: float = 0) -> None:
        self.inner = inner
        self.leases = leases
        self.loads = loads
        #: Set at the first attempt that failed.
        self.is_asked = anyio.Event()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        record = await self.inner.load(key)
        self.loads -= 1
        return record if self.loads < 0 else None

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await self.inner.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self.leases -= 1
        if self.leases < 0:
            return await self.inner.lease(key)
        self.is_asked.set()
        return None


@final
class RemoteStore:
    """A store in memory that waits before each operation, like one in a network."""

    def __init__(self) -> None:
        self.inner = MemoryTokenStore()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        await anyio.lowlevel.checkpoint()
        return await self.inner.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        await anyio.lowlevel.checkpoint()
        assert isinstance(lease, RemoteLease)
        return await self.inner.save(key, record, lease.inner)

    async def clear(self, key: StoreKey, /) -> None:
        await anyio.lowlevel.checkpoint()
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        await anyio.lowlevel.checkpoint()
        inner = await self.inner.lease(key)
        return None if inner is None else RemoteLease(inner)


@final
@attrs.frozen(eq=False)
class RemoteLease:
    """A lease of a `RemoteStore`."""

    inner: Lease
    heartbeat: float | None = None

    async def extend(self) -> bool:
        return True

    async def release(self) -> None:
        await anyio.lowlevel.checkpoint()
        await self.inner.release()


@final
class World:
    """
    One auth, its store, and a client that carries it.

    Args:
        sandbox: The server.
        store: What the auth shares.
        clock: The auth's; None for the machine's.
        credentials: The auth's; None for the server's own pair.
        needs: How many exchanges the next token takes.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        store: TokenStore,
        *,
        clock: ManualClock | None = None,
        credentials: CredentialsLike | None = None,
        needs: int = 1,
    ) -> None:
        self.sandbox = sandbox
        self.store = store
        self.clock = clock
        self.key = StoreKey(sandbox.base_url, sandbox.client_id)
        self.needs = needs
        #: The paths of all exchanges that were begun.
        self.asked: list[str] = []
        #: Set once an exchange is begun.
        self.asking = anyio.Event()
        self.auth = TaxizerAuth(
            credentials or sandbox.credentials,
            base_url=sandbox.base_url,
            store=store,
            clock=clock,
            http_client=lambda: httpx.AsyncClient(transport=_Counting(self)),
        )
        self.client = httpx.AsyncClient(
            auth=self.auth,
            base_url=sandbox.base_url,
            transport=httpx.AsyncHTTPTransport(verify=False),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    def start_counting(self) -> None:
        """Forget the exchanges so far."""
        self.asked.clear()
        self.asking = anyio.Event()

    @property
    def tokens(self) -> int:
        """How many tokens were held so far."""
        status = self.auth.status()
        return status.logins + status.renewals + status.adoptions

    @property
    def is_fresh(self) -> bool:
        """Whether a request would wait for nothing."""
        return self.auth.status().state is TokenState.FRESH

    @property
    def coordinator(self) -> RefreshCoordinator:
        """What the auth's refreshes go through."""
        return self.auth._bearer.provider._coordinator()

    @property
    def is_refreshing(self) -> bool:
        """Whether a refresh is under way, a superseded one included."""
        return self.coordinator._current is not None or self.coordinator.lock().locked()

    @property
    def waiting(self) -> int:
        """How many callers wait for the refresh under way, the leader included."""
        refresh = self.coordinator._current
        return 0 if refresh is None else len(refresh._since)

    async def wait_until_idle(self) -> None:
        """Wait until no refresh is under way; join none, and start none."""
        with anyio.fail_after(HANG):
            while self.is_refreshing:  # noqa: ASYNC110 - a wait for its event would count as a caller
                await anyio.sleep(0.001)

    async def send(self) -> None:
        """Send a request that has to succeed."""
        answer = await self.client.post(PATH, content=b"invoice")
        assert answer.status_code == 200

    async def check_that_all_is_well(self) -> None:
        """Send a plain request, and see that nothing is left behind that would hold others up."""
        with anyio.fail_after(HANG):
            await self.send()
        await self.wait_until_idle()
        assert self.is_fresh
        assert not self.auth.status().store_failing
        assert self.sandbox.counters.reuses == 0
        await self.check_that_the_lease_is_free()

    async def check_that_the_lease_is_free(self) -> None:
        """See that the lease was given back."""
        store = self.store.inner if isinstance(self.store, BusyStore) else self.store
        # A lease that was not given back could be taken over after its time.
        with anyio.fail_after(LEASE_SECONDS - 1):
            # A thread of the call that was cut off may be at it for another moment.
            while (lease := await store.lease(self.key)) is None:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            await lease.release()

    async def check_that_it_is_saved(self) -> None:
        """See that the store has the token that is held."""
        with anyio.fail_after(HANG):
            # As above.
            while not await self._is_saved():  # noqa: ASYNC110
                await anyio.sleep(0.001)

    async def _is_saved(self) -> bool:
        cached, record = (
            self.auth._bearer.provider.cache.state.cached,
            await self.store.load(self.key),
        )
        return cached is not None and record is not None and record.token.jwt == cached.token.jwt


@final
class _Counting(httpx.AsyncHTTPTransport):
    """The network, with a note of what is sent."""

    def __init__(self, world: World) -> None:
        super().__init__(verify=False)
        self._world = world

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._world.asked.append(request.url.path)
        self._world.asking.set()
        return await super().handle_async_request(request)
