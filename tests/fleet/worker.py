"""
A worker of a fleet, as a program: `worker.py CONFIG`, a JSON object; see `fleet.WorkerConfig`.

It reads commands from stdin, one a line, and answers each with a line of JSON:

- `burst N`: N coroutines send a request each.
- `load N`: N coroutines send requests, one after the other, until `stop`.
- `stop`: ends the load, and reports its result.
- `forget`: forgets the token.
- `report`: reports the results so far.

It also reports, unasked, when it begins an exchange.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import time

from typing import TYPE_CHECKING, Any


CONFIG: dict[str, Any] = json.loads(sys.argv[1])
if CONFIG["wall_offset"]:
    _true_time = time.time
    time.time = lambda: _true_time() + CONFIG["wall_offset"]

import anyio  # noqa: E402 - the clock comes first
import anyio.to_thread  # noqa: E402
import httpx  # noqa: E402

from taxizer_async import (  # noqa: E402
    Credentials,
    RenewalPolicy,
    TaxizerAuth,
    TaxizerError,
    TokenStore,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


PATH = "/v1/Invoices"


@contextlib.asynccontextmanager
async def opened_store() -> AsyncIterator[TokenStore]:
    """Open the store that the fleet shares."""
    kind, where = CONFIG["store"]
    key = CONFIG["encryption_key"]
    if kind == "file":
        from taxizer_async.stores.file import FileTokenStore  # noqa: PLC0415 - an extra

        yield FileTokenStore(where, encryption_key=key)
        return
    from taxizer_async.stores.redis import RedisTokenStore  # noqa: PLC0415 - an extra

    if kind == "redis":
        async with RedisTokenStore.from_url(where, encryption_key=key) as store:
            yield store
        return
    async with opened_client(kind, where) as client:
        yield RedisTokenStore(client, encryption_key=key)


@contextlib.asynccontextmanager
async def opened_client(kind: str, where: str) -> AsyncIterator[Any]:
    """Open a client of a cluster, or of a Sentinel, whose port *where* is."""
    import redis.asyncio.sentinel  # noqa: PLC0415 - an extra

    library: Any = redis.asyncio
    if kind == "cluster":
        async with library.RedisCluster.from_url(where) as client:
            yield client
        return
    sentinel = library.sentinel.Sentinel([("127.0.0.1", int(where))])
    async with sentinel.master_for("till") as client:
        yield client
    for each in sentinel.sentinels:
        await each.aclose()


class Worker:
    """Sends requests, and counts."""

    def __init__(self, stores: list[TokenStore]) -> None:
        self._events: list[str] = []
        credentials = Credentials(CONFIG["client_id"], CONFIG["client_secret"])
        self._auths = [
            TaxizerAuth(
                (lambda: credentials) if CONFIG["asks"] else credentials,
                base_url=CONFIG["base_url"],
                extra_origins=[CONFIG["api"]],
                store=store,
                policy=RenewalPolicy(**CONFIG["policy"]),
                http_client=announced_client,
                on_event=lambda event: self._events.append(str(event)),
            )
            for store in stores
        ]
        self._turns = itertools.cycle(self._auths)
        # Loopback needs neither a proxy nor TLS, whose CA bundle takes long to read.
        self._client = httpx.AsyncClient(
            base_url=CONFIG["api"],
            timeout=CONFIG["timeout"],
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )
        self._sent = 0
        self._longest = 0.0
        self._failures: list[str] = []
        self._served_at: list[float] = []
        self._answered_at: list[float] = []
        self._failed_at: list[float] = []
        self._going = False

    async def run(self) -> None:
        """Run commands until stdin ends."""
        async with self._client, anyio.create_task_group() as tasks:
            if CONFIG["keep_fresh"]:
                tasks.start_soon(self._for_each, TaxizerAuth.keep_fresh)
            say("ready")
            while line := await anyio.to_thread.run_sync(sys.stdin.readline):
                command, _, number = line.strip().partition(" ")
                if command == "burst":
                    async with anyio.create_task_group() as burst:
                        for _ in range(int(number)):
                            burst.start_soon(self._send)
                    await self._tell()
                elif command == "load":
                    self._going = True
                    for _ in range(int(number)):
                        tasks.start_soon(self._send_on_and_on)
                    say("loading")
                elif command == "stop":
                    self._going = False
                    await self._tell()
                elif command == "forget":
                    await self._for_each(TaxizerAuth.forget)
                    await self._tell()
                elif command == "report":
                    await self._tell()
            tasks.cancel_scope.cancel()

    async def _for_each(self, call: Callable[[TaxizerAuth], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as tasks:
            for auth in self._auths:
                tasks.start_soon(call, auth)

    async def _send_on_and_on(self) -> None:
        while self._going:
            await self._send()
            # Two cores serve all workers and the server.
            await anyio.sleep(CONFIG["pause"])

    async def _send(self) -> None:
        auth = next(self._turns)
        began = time.monotonic()
        try:
            await auth.token()
            self._served_at.append(time.monotonic())
            response = await self._client.post(PATH, json={"total": "115.00"}, auth=auth)
            self._answered_at.append(time.monotonic())
            if response.status_code != httpx.codes.OK:
                self._failures.append(f"answered {response.status_code}")
        except (TaxizerError, httpx.HTTPError) as problem:
            self._failures.append(f"{type(problem).__name__}: {problem}")
            self._failed_at.append(time.monotonic())
        self._sent += 1
        self._longest = max(self._longest, time.monotonic() - began)

    async def _tell(self) -> None:
        await self._for_each(TaxizerAuth.events_delivered)
        statuses = [auth.status() for auth in self._auths]
        longest, self._longest = self._longest, 0.0
        say(
            "told",
            sent=self._sent,
            failures=self._failures,
            first_served=min(self._served_at, default=None),
            last_served=max(self._served_at, default=None),
            last_answered=max(self._answered_at, default=None),
            failed=self._failed_at,
            logins=sum(status.logins for status in statuses),
            renewals=sum(status.renewals for status in statuses),
            adoptions=sum(status.adoptions for status in statuses),
            events=self._events,
            longest=longest,
            tasks=len(anyio.get_running_tasks()),
        )


def announced_client() -> httpx.AsyncClient:
    """Return a client for an exchange, and report that one begins."""
    say("exchange", at=time.monotonic())
    return httpx.AsyncClient(trust_env=False, proxy=CONFIG["proxy"])


def say(what: str, **content: Any) -> None:
    """Write one line of JSON in one call, as two threads may write."""
    sys.stdout.write(f"{json.dumps({'what': what, **content})}\n")
    sys.stdout.flush()


async def main() -> None:
    """Run the worker, and close the stores at the end."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened_store()) for _ in range(CONFIG["auths"])]
        await Worker(stores).run()


if __name__ == "__main__":
    anyio.run(functools.partial(main), backend=CONFIG["backend"])
