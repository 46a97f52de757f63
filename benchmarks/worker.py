"""
A process of a fleet, as a program: `python -m benchmarks.worker`.

The first line of JSON on stdin is its configuration. The worker reports that it is ready, and then its
results for each further line.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from benchmarks.bench import Tally
from benchmarks.contenders import Contender, Setup
from benchmarks.service import Target
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore


if TYPE_CHECKING:
    from benchmarks.contenders import Session
    from taxizer_async import TokenStore


def make_store(kind: str | None, where: str) -> TokenStore | None:
    """Return a store of *kind*; None is the memory of the process."""
    if kind == "file":
        return FileTokenStore(where)
    if kind == "redis":
        return RedisTokenStore.from_url(where)
    return None


async def close_store(store: TokenStore | None) -> None:
    """Close *store* if it can be closed."""
    if isinstance(store, RedisTokenStore):
        await store.aclose()


def find(module: str, name: str) -> Contender:
    """Return the contender. Only its library is imported, as eight workers start at once."""
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, tuple):
            for one in value:
                if isinstance(one, Contender) and one.name == name:
                    return one
    raise LookupError(name)


async def work(config: dict[str, Any]) -> None:
    """Run the worker that *config* describes."""
    store = make_store(config["store"], config["where"])
    setup = Setup(
        target=Target(**config["target"]),
        store=store,
        folder=None if config["store"] else config["where"],
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(close_store, store)
        session = await stack.enter_async_context(
            find(config["module"], config["contender"]).open(setup)
        )
        report(what="ready")
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            await burst(session, config["tasks"])


async def burst(session: Session, tasks: int) -> None:
    """Send a request from each of *tasks*, and report when they had their tokens."""
    tally, began = Tally(), list[float]()

    async def send() -> None:
        if session.attach is not None:
            await session.attach()
        began.append(time.monotonic())
        await tally.count(session)

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(send)
    report(what="done", failed=tally.failed, first=min(began), last=max(began))


def report(**content: object) -> None:
    """Write one line of JSON to stdout."""
    sys.stdout.write(f"{json.dumps(content)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(handlers=[logging.NullHandler()])
    anyio.run(work, json.loads(sys.stdin.readline()))
