"""
A process of a crowd, as a program: `python -m benchmarks.crowd_worker`.

The first line of JSON on stdin is its configuration. The process reports that it is ready, has each of its auths
get a token once there is another line, and reports what that took.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from benchmarks.counted_store import CountedStore
from benchmarks.worker import close_store, make_store, report
from taxizer_async import Credentials, TaxizerAuth, TaxizerError
from taxizer_async.stores import FailureStore


if TYPE_CHECKING:
    from collections.abc import Sequence


async def work(config: dict[str, Any]) -> None:
    """Run the process that *config* describes."""
    inner = make_store(config["store"], config["where"])
    assert isinstance(inner, FailureStore)
    store = CountedStore(inner)
    target = config["target"]
    credentials = Credentials(target["client_id"], target["client_secret"])
    auths = [
        TaxizerAuth(credentials, base_url=target["base_url"], store=store)
        for _ in range(config["auths"])
    ]
    report(what="ready")
    await anyio.to_thread.run_sync(sys.stdin.readline)
    began, cpu = time.monotonic(), time.process_time()
    served = await get_all(auths)
    report(
        what="done",
        # The first request of each auth can be sent from then on.
        served=served,
        failed=len(auths) - len(served),
        logins=sum(auth.status().logins for auth in auths),
        calls=store.calls,
        seconds=time.monotonic() - began,
        cpu=time.process_time() - cpu,
    )
    await close_store(inner)


async def get_all(auths: Sequence[TaxizerAuth]) -> list[float]:
    """Get a token for each of *auths* at once; return when each had it, but for those that failed."""
    served: list[float] = []

    async def get(auth: TaxizerAuth) -> None:
        try:
            await auth.token()
        except TaxizerError:
            return
        served.append(time.monotonic())

    async with anyio.create_task_group() as tasks:
        for auth in auths:
            tasks.start_soon(get, auth)
    return served


if __name__ == "__main__":
    logging.basicConfig(handlers=[logging.NullHandler()])
    anyio.run(work, json.loads(sys.stdin.readline()))
