"""The requests of one process of the demo, sent a few at a time and counted."""

from __future__ import annotations

import collections
import contextlib
import functools
import time

from typing import TYPE_CHECKING, Final, Self, final

import anyio
import attrs
import httpx

from taxizer_async._auth.on_httpx import TaxizerAuth
from taxizer_async._core.errors import TaxizerError


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._core.models import Credentials
    from taxizer_async.stores import TokenStore


_MAX_CLIENTS: Final = 10
#: Seconds; generous, as the machine may be loaded.
_TIMEOUT: Final = 60.0


@attrs.frozen(kw_only=True)
class Workload:
    """
    What one process sends.

    Attributes:
        requests: How many requests.
        clients: Over how many clients.
        limit: The most requests in flight per client.
    """

    requests: int
    clients: int
    limit: int

    @classmethod
    def of(cls, requests: int, connections: int) -> Self:
        """Spread *requests* over about *connections*, never more."""
        clients = min(connections, _MAX_CLIENTS)
        return cls(requests=requests, clients=clients, limit=connections // clients)

    @property
    def connections(self) -> int:
        """The most requests in flight."""
        return self.clients * self.limit


@attrs.frozen(kw_only=True)
class Counts:
    """
    How far the requests are.

    Attributes:
        answered: Requests that were answered with 200.
        failed: Requests that were answered otherwise, or not at all.
        in_flight: Requests that were sent, or wait for a token.
    """

    answered: int = 0
    failed: int = 0
    in_flight: int = 0

    @property
    def done(self) -> int:
        """Requests that are over."""
        return self.answered + self.failed


@attrs.frozen(kw_only=True)
class Outcome:
    """
    The result of one process.

    Attributes:
        answered: Requests that were answered with 200.
        failures: Reasons why requests failed, and how many failed for each.
        latencies: Seconds that each request took, including the wait for a token.
        logins: Logins of its auth object.
        renewals: Renewals of its auth object.
        adoptions: Tokens that its auth object took from the store.
    """

    answered: int
    failures: tuple[tuple[str, int], ...]
    latencies: tuple[float, ...] = ()
    logins: int = 0
    renewals: int = 0
    adoptions: int = 0

    @property
    def failed(self) -> int:
        """Requests that failed."""
        return sum(number for _, number in self.failures)


@final
class LoadGenerator:
    """
    Sends a *workload* from this process.

    Args:
        workload: What to send.
        credentials: The credentials for the login.
        base_url: Where the requests go.
        store: Where the token is shared; by default in memory.
    """

    def __init__(
        self,
        workload: Workload,
        credentials: Credentials,
        base_url: str,
        store: TokenStore | None = None,
    ) -> None:
        self.requests: Final = workload.requests
        self.processes: Final = 1
        self._workload = workload
        # Loopback needs no proxy. Reading the CA bundle is slow, so the clients share one context.
        client = functools.partial(
            httpx.AsyncClient, trust_env=False, verify=httpx.create_ssl_context()
        )
        self._auth = TaxizerAuth(credentials, base_url=base_url, store=store, http_client=client)
        self._make_client = functools.partial(
            client, auth=self._auth, base_url=base_url, timeout=_TIMEOUT
        )
        self._changed: Callable[[], None] = lambda: None
        self._in_flight = 0
        self._failures: collections.Counter[str] = collections.Counter()
        self._latencies: list[float] = []

    @property
    def counts(self) -> Counts:
        """How far it is."""
        failed = self._failures.total()
        return Counts(
            answered=len(self._latencies) - failed, failed=failed, in_flight=self._in_flight
        )

    async def run(self, changed: Callable[[], None]) -> tuple[Outcome]:
        """Send everything; call *changed* when `counts` has changed."""
        self._changed = changed
        async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            clients = [
                (
                    await stack.enter_async_context(self._make_client()),
                    anyio.CapacityLimiter(self._workload.limit),
                )
                for _ in range(self._workload.clients)
            ]
            for number in range(self.requests):
                tasks.start_soon(self._send, *clients[number % len(clients)])
        status = self._auth.status()
        outcome = Outcome(
            answered=self.counts.answered,
            failures=tuple(self._failures.most_common()),
            latencies=tuple(self._latencies),
            logins=status.logins,
            renewals=status.renewals,
            adoptions=status.adoptions,
        )
        return (outcome,)

    async def _send(self, client: httpx.AsyncClient, limiter: anyio.CapacityLimiter) -> None:
        # The connection pool would queue a request that carries a token already, which may have ended
        # once the request leaves.
        async with limiter:
            self._in_flight += 1
            self._changed()
            began = time.monotonic()
            problem = await _post(client)
            if problem is not None:
                self._failures[problem] += 1
            self._latencies.append(time.monotonic() - began)
            self._in_flight -= 1
        self._changed()


async def _post(client: httpx.AsyncClient) -> str | None:
    """Send one request; return why it failed, or None."""
    try:
        response = await client.post("/v1/Invoices", json={"total": "115.00", "vat": "15.00"})
    except (TaxizerError, httpx.HTTPError) as error:
        return f"{type(error).__name__}: {error}"
    return None if response.is_success else f"the answer was {response.status_code}"
