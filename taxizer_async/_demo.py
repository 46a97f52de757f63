"""
The demo without a display: many requests through an expiry, a revocation and an outage.

It starts a sandbox, sends the requests and reports what happens as values. It prints nothing, and each
number it gives was counted by the sandbox or by who sent the requests. When an incident is due, and
when it is over, is decided in `_demo_incidents`.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import time

from collections.abc import Callable
from typing import Final, TypeAlias, final

import anyio
import attrs
import httpx

from taxizer_async._auth import TaxizerAuth
from taxizer_async._demo_incidents import FIRST_LIFETIME, Director, Incident, Note
from taxizer_async._errors import TaxizerError
from taxizer_async.testing import Sandbox, SandboxCounters


#: Fewer would be over before there is anything to see.
LEAST_REQUESTS: Final = 20
#: Seconds that all requests take at least, incidents aside: more than twice FIRST_LIFETIME, so that
#: the first token ends before half of them are answered, however fast the machine.
_SPAN: Final = 2.25 * FIRST_LIFETIME
#: One in flight for so many in all …
_REQUESTS_PER_CONNECTION: Final = 20
#: … up to this, which one processor can serve.
_MOST_CONNECTIONS: Final = 100
_MOST_CLIENTS: Final = 10
_LEAST_LATENCY: Final = 0.4
#: Seconds that a login takes, so that there is something to wait for.
_LOGIN_LATENCY: Final = 0.3
#: Seconds; a loaded machine may take its time.
_TIMEOUT: Final = 60.0
#: Seconds that the director may take to see that all requests are answered.
_LAST_LOOK: Final = 2.0

_PATH: Final = "/v1/Invoices"
_OK: Final = 200


@attrs.frozen(kw_only=True)
class Progress:
    """
    How far the requests are.

    Attributes:
        requests: How many there are.
        answered: Those that were answered 200.
        failed: Those that were answered otherwise, or not at all.
        in_flight: Those that were sent, or wait for a token.
        elapsed: Seconds since the first was sent.
        counters: What the sandbox has counted.
    """

    requests: int
    answered: int
    failed: int
    in_flight: int
    elapsed: float
    counters: SandboxCounters

    @property
    def done(self) -> int:
        """Those that are over, one way or the other."""
        return self.answered + self.failed


@attrs.frozen(kw_only=True)
class Summary:
    """
    What came of it.

    Attributes:
        progress: The last one.
        failures: Why requests failed, and how many for that reason.
        missed: The incidents that did not come to their end while requests were under way.
        p50: Seconds in which half of the requests were answered, waits for a token included.
        p99: The same of 99 in 100.
        latency: Seconds that the sandbox takes for an answer.
    """

    progress: Progress
    failures: tuple[tuple[str, int], ...]
    missed: tuple[Incident, ...]
    p50: float
    p99: float
    latency: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What was not as it should be; nothing, if all is well."""
        logins = self.progress.counters.connects
        return (
            *(f"{number} failed: {reason}" for reason, number in self.failures),
            *((f"{logins} logins in place of 1",) if logins != 1 else ()),
            *(f"there was no {incident} to be seen" for incident in self.missed),
        )


Report: TypeAlias = Callable[[Progress | Note], None]


async def run_demo(requests: int, report: Report) -> Summary:
    """
    Send *requests* at once through all three incidents; tell *report* of each step.

    Raises:
        ValueError: If there are fewer than `LEAST_REQUESTS`.
    """
    if requests < LEAST_REQUESTS:
        msg = f"the demo takes at least {LEAST_REQUESTS} requests, not {requests}"
        raise ValueError(msg)
    connections = min(requests // _REQUESTS_PER_CONNECTION, _MOST_CONNECTIONS)
    lanes = min(connections, _MOST_CLIENTS)
    connections -= connections % lanes
    sandbox = Sandbox(
        lifetime=FIRST_LIFETIME,
        connect_latency=_LOGIN_LATENCY,
        resource_latency=max(_LEAST_LATENCY, connections * _SPAN / requests),
    )
    async with sandbox, contextlib.AsyncExitStack() as stack:
        crowd = Crowd(requests, sandbox, report)
        director = Director(sandbox, crowd, report)
        clients = [await stack.enter_async_context(c) for c in _clients(lanes, director)]
        await _run(crowd, director, clients, connections // lanes)
        return crowd.summary(missed=director.missed)


@final
class Crowd:
    """
    All requests: sends each when its turn comes, and counts.

    Args:
        requests: How many there are.
        sandbox: Where they go.
        report: Hears of each answer.
    """

    def __init__(self, requests: int, sandbox: Sandbox, report: Report) -> None:
        self.requests: Final = requests
        self.in_flight = 0
        self.answered = 0
        self._sandbox = sandbox
        self._report = report
        self._failures: collections.Counter[str] = collections.Counter()
        self._latencies: list[float] = []
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Those that are over, one way or the other."""
        return self.answered + self._failures.total()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            requests=self.requests,
            answered=self.answered,
            failed=self._failures.total(),
            in_flight=self.in_flight,
            elapsed=time.monotonic() - self._began,
            counters=self._sandbox.counters,
        )

    async def send(self, client: httpx.AsyncClient, turns: anyio.CapacityLimiter) -> None:
        """Send one request when its turn has come."""
        # Not the connection pool's queue: a request enters that one with its token on, which may
        # have ended when it leaves.
        async with turns:
            self.in_flight += 1
            self._report(self.progress)
            began = time.monotonic()
            problem = await _ask(client)
            self._latencies.append(time.monotonic() - began)
            self.in_flight -= 1
        if problem is None:
            self.answered += 1
        else:
            self._failures[problem] += 1
        self._report(self.progress)

    def summary(self, *, missed: tuple[Incident, ...]) -> Summary:
        """Return what came of it; *missed* is the director's to know."""
        latencies = sorted(self._latencies)
        return Summary(
            progress=self.progress,
            failures=tuple(self._failures.most_common()),
            missed=missed,
            p50=_percentile(latencies, 0.50),
            p99=_percentile(latencies, 0.99),
            latency=self._sandbox.resource_latency,
        )


def _clients(number: int, director: Director) -> list[httpx.AsyncClient]:
    # Loopback is no matter for a proxy; and the CA bundle takes long to read, so once.
    options = functools.partial(
        httpx.AsyncClient, trust_env=False, verify=httpx.create_ssl_context()
    )
    auth = TaxizerAuth(
        director.sandbox.credentials,
        base_url=director.sandbox.base_url,
        http_client=options,
        on_event=director.hear,
    )
    return [
        options(auth=auth, base_url=director.sandbox.base_url, timeout=_TIMEOUT)
        for _ in range(number)
    ]


async def _run(
    crowd: Crowd, director: Director, clients: list[httpx.AsyncClient], turns: int
) -> None:
    async with anyio.create_task_group() as incidents:
        incidents.start_soon(director.run)
        lanes = [(client, anyio.CapacityLimiter(turns)) for client in clients]
        async with anyio.create_task_group() as tasks:
            for number in range(crowd.requests):
                tasks.start_soon(crowd.send, *lanes[number % len(lanes)])
        with anyio.move_on_after(_LAST_LOOK):
            await director.done.wait()
        incidents.cancel_scope.cancel()


async def _ask(client: httpx.AsyncClient) -> str | None:
    """Send one request; return why it failed, if it did."""
    try:
        response = await client.post(_PATH, json={"total": "115.00", "vat": "15.00"})
    except (TaxizerError, httpx.HTTPError) as error:
        return f"{type(error).__name__}: {error}"
    return None if response.status_code == _OK else f"the answer was {response.status_code}"


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
