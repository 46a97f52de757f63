"""Holders that are stopped, killed or left without a loop, as real processes and in real time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from taxizer_async.stores import Lease
from taxizer_async.stores._protocol import HEARTBEAT, LEASE_SECONDS
from taxizer_async.stores.file import FileTokenStore
from tests.stores.conftest import JWT, KEY, held, jwt_in, make_record, taken_over
from tests.support import families
from tests.support.families import PATIENCE


pytestmark = pytest.mark.slow


HOLDER = """
import json, os, signal, sys, threading
from pathlib import Path

import anyio

from taxizer_async import Secret, Token
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore

KEY = StoreKey(*sys.argv[3:])

def make_record(jwt):
    return TokenRecord(
        token=Token(jwt=Secret(jwt)),
        version=jwt,
        lifetime=900.0,
        refresh_lifetime=None,
        age=0.0,
        refresh_spent=False,
    )

def stop_before(name, kind):
    real = getattr(kind, name)
    def stop(*arguments):
        setattr(kind, name, real)
        # This very thread, which would go on for a moment otherwise.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return real(*arguments)
    setattr(kind, name, stop)

async def main():
    store = FileTokenStore(sys.argv[1])
    lease = await store.lease(KEY)
    await store.save(KEY, make_record("first"), lease)
    print("held", flush=True)
    if sys.argv[2] == "in mid-save":
        stop_before("replace", Path)
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    saved = await store.save(KEY, make_record("late"), lease)
    print(json.dumps([saved, await lease.extend()]), flush=True)
    await lease.release()

anyio.run(main)
"""


@pytest.fixture(name="holder")
def _holder(folder: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-c",
        HOLDER,
        str(folder),
        request.param,
        KEY.base_url,
        KEY.client_id,
    ]
    with families.running(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.waitpid(holder.pid, os.WUNTRACED)
        yield holder


@pytest.mark.parametrize("holder", ["between two saves", "in mid-save"], indirect=True)
async def test_a_stopped_holder_is_left_behind(
    holder: subprocess.Popen[str], store: FileTokenStore, folder: Path
) -> None:
    """Others go on 5 s after they first looked; when it is resumed, its save is refused and does nothing."""
    began = time.monotonic()
    successor = await taken_over(folder)
    took = time.monotonic() - began
    assert await store.save(KEY, make_record(), successor)
    holder.send_signal(signal.SIGCONT)
    assert holder.stdout is not None
    answers = json.loads(await anyio.to_thread.run_sync(holder.stdout.readline))

    assert took >= LEASE_SECONDS
    assert answers == [False, False]
    assert await jwt_in(store) == JWT
    assert await successor.extend()
    await successor.release()


@pytest.mark.parametrize("holder", ["between two saves"], indirect=True)
async def test_a_killed_holder_is_missed_at_once(
    holder: subprocess.Popen[str], store: FileTokenStore
) -> None:
    """The kernel releases the lock of a process that ends, also of one that was stopped."""
    assert await store.lease(KEY) is None
    holder.kill()
    holder.wait(PATIENCE)

    await (await held(store)).release()


async def test_a_holder_whose_loop_was_closed_is_left_behind(folder: Path) -> None:
    """A lease whose event loop is closed ends though its process, and the lease itself, live on."""
    leases: list[Lease] = []

    def hold() -> None:
        loop = asyncio.new_event_loop()
        leases.append(loop.run_until_complete(held(FileTokenStore(folder))))
        loop.close()

    await anyio.to_thread.run_sync(hold)
    began = time.monotonic()
    successor = await taken_over(folder)

    assert time.monotonic() - began >= LEASE_SECONDS
    assert await leases[0].extend() is False
    await successor.release()
    await leases[0].release()


async def test_a_holder_that_beats_is_not_left_behind(store: FileTokenStore, folder: Path) -> None:
    """A lease that is extended at its heartbeat lasts for longer than one that is not."""
    lease = await held(store)
    other = FileTokenStore(folder)
    end = time.monotonic() + 1.5 * LEASE_SECONDS
    beat_at = time.monotonic() + HEARTBEAT
    while time.monotonic() < end:
        if time.monotonic() >= beat_at:
            beat_at += HEARTBEAT
            assert await lease.extend()
        assert await other.lease(KEY) is None
        await anyio.sleep(0.1)
    await lease.release()
