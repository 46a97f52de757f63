"""The requests of one process of the demo, sent a few at a time and counted."""

from __future__ import annotations

import collections
import functools
import time

from typing import Final, final

import anyio
import attrs
import httpx

from taxizer_async._auth.on_httpx import TaxizerAuth
from taxizer_async._cli.store_config import StoreConfig, closing
from taxizer_async._core.errors import TaxizerError
from taxizer_async._core.models import Credentials


#: Seconds; generous, as the machine may be loaded.
_TIMEOUT: Final = 60.0


@attrs.frozen(kw_only=True)
class Workload:
    """How many *requests* a process sends, how many at a time, and what it needs for that."""

    requests: int
    in_flight: int
    credentials: Credentials
    base_url: str
    store: StoreConfig


@attrs.frozen(kw_only=True)
class Counts:
    """
    What one process has done so far.

    Attributes:
        answered: Requests that were answered with 200.
        failures: Reasons why requests failed, and how many failed for each.
        in_flight: Requests that were sent, or wait for a token.
        logins: Logins of its auth object.
        renewals: Renewals of its auth object.
        adoptions: Tokens that its auth object took from the store.
        latencies: Seconds that each request took, including the wait for a token; empty until all are done.
    """

    answered: int = 0
    failures: dict[str, int] = attrs.field(factory=dict[str, int])
    in_flight: int = 0
    logins: int = 0
    renewals: int = 0
    adoptions: int = 0
    latencies: tuple[float, ...] = ()

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def done(self) -> int:
        """Requests that are over."""
        return self.answered + self.failed


@final
class LoadGenerator:
    """Sends *workload* from this process."""

    def __init__(self, workload: Workload) -> None:
        self.requests: Final = workload.requests
        self._left = iter(range(workload.requests))
        self._senders = workload.in_flight
        self._store = workload.store.create()
        # Loopback needs no proxy. Reading the CA bundle is slow, so all clients share this context.
        client = functools.partial(
            httpx.AsyncClient, trust_env=False, verify=httpx.create_ssl_context()
        )
        base_url = workload.base_url
        self._auth = TaxizerAuth(
            workload.credentials, base_url=base_url, store=self._store, http_client=client
        )
        self._make_client = functools.partial(
            client, auth=self._auth, base_url=base_url, timeout=_TIMEOUT
        )
        self._in_flight = 0
        self._failures: collections.Counter[str] = collections.Counter()
        self._latencies: list[float] = []

    @property
    def counts(self) -> Counts:
        status = self._auth.status()
        done = len(self._latencies)
        return Counts(
            answered=done - self._failures.total(),
            failures=dict(self._failures),
            in_flight=self._in_flight,
            logins=status.logins,
            renewals=status.renewals,
            adoptions=status.adoptions,
            latencies=tuple(self._latencies) if done == self.requests else (),
        )

    async def run(self) -> None:
        async with closing(self._store), anyio.create_task_group() as tasks:
            for _ in range(self._senders):
                tasks.start_soon(self._send)

    async def _send(self) -> None:
        # A pool looks at all its connections for each request, so each sender has a client.
        async with self._make_client() as client:
            for _ in self._left:
                self._in_flight += 1
                began = time.monotonic()
                problem = await _post(client)
                if problem is not None:
                    self._failures[problem] += 1
                self._latencies.append(time.monotonic() - began)
                self._in_flight -= 1


async def _post(client: httpx.AsyncClient) -> str | None:
    """Send one request; return why it failed, or None."""
    try:
        response = await client.post("/v1/Invoices", json={"total": "115.00", "vat": "15.00"})
    except (TaxizerError, httpx.HTTPError) as error:
        return f"{type(error).__name__}: {error}"
    return None if response.is_success else f"the answer was {response.status_code}"
