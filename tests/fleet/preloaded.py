"""
A program that is loaded before its workers are forked, as by gunicorn's preload.

`preloaded.py CONFIG`: as of `worker.py`, and `"warm"`: whether the parent has sent a request before.
"""

from __future__ import annotations

import functools
import json
import os
import sys

import anyio
import httpx

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth, TokenStore


CONFIG = json.loads(sys.argv[1])
WORKERS = 4


def make_store() -> TokenStore:
    """Return the store, before the fork."""
    kind, where = CONFIG["store"]
    if kind == "file":
        from taxizer_async.stores.file import FileTokenStore  # noqa: PLC0415 - an extra

        return FileTokenStore(where)
    from taxizer_async.stores.redis import RedisTokenStore  # noqa: PLC0415 - an extra

    return RedisTokenStore.from_url(where)


STORE = make_store()
AUTH = TaxizerAuth(
    Credentials(CONFIG["client_id"], CONFIG["client_secret"]),
    base_url=CONFIG["base_url"],
    store=STORE,
    # A stall of a busy process is not a failure of its store.
    policy=RenewalPolicy(store_timeout=20.0),
)


async def send(requests: int) -> int:
    """Send that many requests at once; return how many were answered as expected."""
    codes: list[int] = []

    async def one(client: httpx.AsyncClient) -> None:
        codes.append((await client.post("/v1/Invoices")).status_code)

    options = {"base_url": CONFIG["base_url"], "timeout": 90, "trust_env": False}
    async with (
        httpx.AsyncClient(auth=AUTH, **options) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(requests):
            tasks.start_soon(one, client)
    close = getattr(STORE, "aclose", None)
    if close is not None:
        await close()
    return codes.count(httpx.codes.OK)


def work(requests: int) -> int:
    """Run a new event loop in this process."""
    return anyio.run(functools.partial(send, requests), backend=CONFIG["backend"])


def main() -> int:
    """Fork the children, and return whether all succeeded."""
    if CONFIG["warm"]:
        assert work(1) == 1
    children = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if work(5) == 5 else 1)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] for pid in children)


if __name__ == "__main__":
    sys.exit(main())
