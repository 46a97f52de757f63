"""
The requests of one process of the demo: each is sent when its turn comes, and counted.

What happens to the token meanwhile is not known here, nor how many processes there are.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import time

from typing import TYPE_CHECKING, Final, Self, final

import anyio
import attrs
import httpx

from taxizer_async._auth.auth import TaxizerAuth
from taxizer_async._core.errors import TaxizerError


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._core.models import Credentials
    from taxizer_async.stores import TokenStore


_MOST_CLIENTS: Final = 10
#: Seconds; a loaded machine may take its time.
_TIMEOUT: Final = 60.0

_PATH: Final = "/v1/Invoices"
_OK: Final = 200


@attrs.frozen(kw_only=True)
class Share:
    """
    What one process sends.

    Attributes:
        requests: How many requests.
        clients: Over how many clients.
        turns: So many at a time over each.
    """

    requests: int
    clients: int
    turns: int

    @classmethod
    def of(cls, requests: int, connections: int) -> Self:
        """Return *requests* over *connections*, or a few less of these."""
        clients = min(connections, _MOST_CLIENTS)
        return cls(requests=requests, clients=clients, turns=connections // clients)

    @property
    def connections(self) -> int:
        """How many are in flight at most."""
        return self.clients * self.turns


@attrs.frozen(kw_only=True)
class Tally:
    """
    How far requests are.

    Attributes:
        answered: Those that were answered 200.
        failed: Those that were answered otherwise, or not at all.
        in_flight: Those that were sent, or wait for a token.
    """

    answered: int = 0
    failed: int = 0
    in_flight: int = 0

    @property
    def done(self) -> int:
        """Those that are over, one way or the other."""
        return self.answered + self.failed

    def __add__(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            answered=self.answered + other.answered,
            failed=self.failed + other.failed,
            in_flight=self.in_flight + other.in_flight,
        )


@attrs.frozen(kw_only=True)
class Outcome:
    """
    What came of the requests of one process.

    Attributes:
        answered: Those that were answered 200.
        failures: Why others failed, and how many for that reason.
        latencies: Seconds that each took, waits for a token included.
        logins: Its auth object's.
        renewals: Likewise.
        adoptions: Tokens that it took from the store.
    """

    answered: int
    failures: tuple[tuple[str, int], ...]
    latencies: tuple[float, ...] = ()
    logins: int = 0
    renewals: int = 0
    adoptions: int = 0

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(number for _, number in self.failures)


@final
class Crowd:
    """
    Sends its *share*.

    Args:
        share: How many requests, and how.
        credentials: For the login.
        base_url: Where they go.
        store: Where the token is shared; by default in memory.
    """

    def __init__(
        self,
        share: Share,
        credentials: Credentials,
        base_url: str,
        store: TokenStore | None = None,
    ) -> None:
        self.requests: Final = share.requests
        self.processes: Final = 1
        self._share = share
        self._base_url = base_url
        # Loopback is no matter for a proxy; and the CA bundle takes long to read, so once.
        self._client = functools.partial(
            httpx.AsyncClient, trust_env=False, verify=httpx.create_ssl_context()
        )
        self._auth = TaxizerAuth(
            credentials, base_url=base_url, store=store, http_client=self._client
        )
        self._changed: Callable[[], None] = lambda: None
        self._in_flight = 0
        self._failures: collections.Counter[str] = collections.Counter()
        self._latencies: list[float] = []

    @property
    def tally(self) -> Tally:
        """How far it is."""
        failed = self._failures.total()
        return Tally(
            answered=len(self._latencies) - failed, failed=failed, in_flight=self._in_flight
        )

    async def run(self, changed: Callable[[], None]) -> tuple[Outcome]:
        """Send all, and return what came of it; *changed* is called when `tally` has."""
        self._changed = changed
        async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            lanes = [
                (await stack.enter_async_context(client), anyio.CapacityLimiter(self._share.turns))
                for client in self._make_clients()
            ]
            for number in range(self.requests):
                tasks.start_soon(self._send, *lanes[number % len(lanes)])
        status = self._auth.status()
        outcome = Outcome(
            answered=self.tally.answered,
            failures=tuple(self._failures.most_common()),
            latencies=tuple(self._latencies),
            logins=status.logins,
            renewals=status.renewals,
            adoptions=status.adoptions,
        )
        return (outcome,)

    def _make_clients(self) -> list[httpx.AsyncClient]:
        make = functools.partial(
            self._client, auth=self._auth, base_url=self._base_url, timeout=_TIMEOUT
        )
        return [make() for _ in range(self._share.clients)]

    async def _send(self, client: httpx.AsyncClient, turns: anyio.CapacityLimiter) -> None:
        """Send one request when its turn has come."""
        # Not the connection pool's queue: a request enters that one with its token on, which may
        # have ended when it leaves.
        async with turns:
            self._in_flight += 1
            self._changed()
            began = time.monotonic()
            problem = await _ask(client)
            if problem is not None:
                self._failures[problem] += 1
            self._latencies.append(time.monotonic() - began)
            self._in_flight -= 1
        self._changed()


async def _ask(client: httpx.AsyncClient) -> str | None:
    """Send one request; return why it failed, if it did."""
    try:
        response = await client.post(_PATH, json={"total": "115.00", "vat": "15.00"})
    except (TaxizerError, httpx.HTTPError) as error:
        return f"{type(error).__name__}: {error}"
    return None if response.status_code == _OK else f"the answer was {response.status_code}"
