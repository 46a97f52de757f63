"""
The life of a client as a program, for tests that run it in an odd environment or beside another library.

Its settings are in the environment. It takes a client, async and sync, through logins, a revocation, an outage, a
cancelled caller and `forget`, and prints what each step cost.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from taxizer_async import (
    AuthError,
    Credentials,
    MemoryTokenStore,
    RenewalPolicy,
    TaxizerClient,
    TokenStore,
)


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taxizer_async import TaxizerAuth


PATH: Final = "/v1/Invoices/GenerateInvoice"
#: Seconds that an answer may take on a machine that is busy.
PATIENCE: Final = 60.0
#: Requests at once.
CROWD: Final = 20
#: An outage is reported after the first attempt, and a stall of a busy process is not a failure of its store.
POLICY: Final = RenewalPolicy(backoff=60.0, store_timeout=20.0)
#: Seconds that a step of the event loop may take.
SLOW: Final = 5.0
#: The logins and renewals that each step costs.
EXPECTED: Final = {
    "cold crowd": [1, 0],
    "revocation": [0, 1],
    "sync callers": [0, 1],
    "cancelled caller": [1, 0],
    "outage": [0, 0],
    "recovery": [1, 0],
}


async def live(
    client: TaxizerClient, sync: httpx.Client, store: TokenStore
) -> dict[str, list[int]]:
    """Return what each step cost: logins and renewals."""
    costs: dict[str, list[int]] = {}
    async with (
        client,
        httpx.AsyncClient(
            base_url=f"{client.base_url}/_sandbox/", trust_env=False, timeout=PATIENCE
        ) as control,
    ):

        async def tell(what: str, **details: Any) -> None:
            (await control.post(what, json=details)).raise_for_status()

        async def count(step: str) -> None:
            counters = (await control.get("state")).json()["counters"]
            costs[step] = [counters["connects"], counters["refreshes"]]
            await tell("reset-counters")

        await _crowd(client)
        await count("cold crowd")

        await tell("revoke")
        await _crowd(client)
        await count("revocation")

        await tell("revoke")
        with ThreadPoolExecutor(CROWD) as pool:
            sent = [pool.submit(_send, sync) for _ in range(CROWD)]
            # Not by `anyio.to_thread`: with nest_asyncio its threads never end.
            while not all(each.done() for each in sent):  # noqa: ASYNC110 - threads
                await anyio.sleep(0.01)
        for each in sent:
            each.result()
        await count("sync callers")

        await client.auth.forget()
        await _cancel_one(client.auth)
        await count("cancelled caller")

        await client.auth.forget()
        await tell("fail", kind="reset", where="connect")
        for _ in range(2):
            try:
                await client.get(PATH)
            except AuthError as problem:
                assert problem.retryable  # noqa: PT017
        await tell("reset-counters")
        await count("outage")

        await tell("heal")
        await client.auth.forget()
        await _crowd(client)
        await count("recovery")
    close = getattr(store, "aclose", None)
    if close is not None:
        await close()
    return costs


async def _in_asyncio(run: Callable[[], Awaitable[dict[str, list[int]]]]) -> dict[str, list[int]]:
    # In its debug mode; on a machine that is busy any step may take a while.
    asyncio.get_running_loop().slow_callback_duration = SLOW
    return await run()


async def _crowd(client: httpx.AsyncClient) -> None:
    async def send() -> None:
        (await client.post(PATH, json={})).raise_for_status()

    async with anyio.create_task_group() as tasks:
        for _ in range(CROWD):
            tasks.start_soon(send)


def _send(client: httpx.Client) -> None:
    client.post(PATH, json={}).raise_for_status()


async def _cancel_one(auth: TaxizerAuth) -> None:
    """Leave a login that one caller began, and have another one use its token."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.token)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await auth.token()


def make_store() -> TokenStore:
    """Return the store that the environment names."""
    if url := os.environ.get("REDIS_URL"):
        from taxizer_async.stores.redis import RedisTokenStore  # noqa: PLC0415 - an extra

        return RedisTokenStore.from_url(url)
    if path := os.environ.get("STORE_PATH"):
        from taxizer_async.stores.file import FileTokenStore  # noqa: PLC0415 - an extra

        return FileTokenStore(path)
    return MemoryTokenStore()


def main() -> None:
    """Live, and print what each step cost."""
    base_url, store = os.environ["TAXIZER_BASE_URL"], make_store()
    # Not in the event loop: httpx reads a CA bundle.
    client = TaxizerClient(
        Credentials.from_env, base_url=base_url, store=store, policy=POLICY, timeout=PATIENCE
    )
    with httpx.Client(auth=client.auth, base_url=base_url, timeout=PATIENCE) as sync:
        run = functools.partial(live, client, sync, store)
        if os.environ.get("BACKEND") == "trio":
            costs = anyio.run(run, backend="trio")
        else:
            costs = asyncio.run(_in_asyncio(run))
    print(json.dumps(costs))  # noqa: T201


if __name__ == "__main__":
    main()
