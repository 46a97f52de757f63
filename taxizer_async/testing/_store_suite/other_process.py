"""A lease that another process holds, until that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys

from collections.abc import AsyncGenerator
from typing import Final

import anyio
import anyio.to_thread

from anyio.abc import Process

from taxizer_async.stores import StoreKey
from taxizer_async.testing._store_suite.harness import (
    NotTriedError,
    StoreFactory,
    leased,
    make_record,
    make_store,
    require,
    save,
)


#: It finds modules where this process does.
_PROGRAM: Final = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from taxizer_async.testing._store_suite.other_process import main
main()
"""
_HELD: Final = b"held\n"
_NO_FACTORY: Final = b"no factory\n"


@contextlib.asynccontextmanager
async def lease_elsewhere(factory: bytes, key: StoreKey) -> AsyncGenerator[None]:
    """
    Have another process take the lease of *key* and save a record; kill it at the end.

    Args:
        factory: Makes the store there; pickled.
        key: What to lease.

    Raises:
        NotTriedError: If *factory* can't be made there.
    """
    command = [sys.executable, "-c", _PROGRAM]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            answer = await _ask(
                process, pickle.dumps(sys.path), pickle.dumps((_backend(), factory, key))
            )
            if answer == _NO_FACTORY:
                raise NotTriedError
            require(answer == _HELD, "another process could not take it")
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _ask(process: Process, *messages: bytes) -> bytes:
    """Send *messages*, and return what the process says; nothing if it has ended."""
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        return b""
    try:
        for message in messages:
            await stdin.send(message)
        return await stdout.receive()
    except (anyio.BrokenResourceError, anyio.EndOfStream):
        return b""


def main() -> None:
    """Hold a lease until the standard input ends."""
    backend, pickled, key = pickle.load(sys.stdin.buffer)  # noqa: S301 - its parent wrote it
    try:
        factory = pickle.loads(pickled)  # noqa: S301
    except Exception:  # noqa: BLE001 - such as a function of the parent's `__main__`
        _say(_NO_FACTORY)
        return
    anyio.run(_hold, factory, key, backend=backend)


async def _hold(factory: StoreFactory, key: StoreKey) -> None:
    store = await make_store(factory)
    lease = await leased(store, key)
    await save(store, key, make_record(), lease)
    _say(_HELD)
    beat = lease.heartbeat

    async def extend() -> None:
        while beat is not None:
            await anyio.sleep(beat)
            await lease.extend()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extend)
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
        tasks.cancel_scope.cancel()


def _say(what: bytes) -> None:
    sys.stdout.buffer.write(what)
    sys.stdout.buffer.flush()


def _backend() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "asyncio"
