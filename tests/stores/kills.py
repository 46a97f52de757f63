"""
A process that saves in a loop is killed at random moments: `python -m tests.stores.kills --kills 1000`.

After each kill the record is whole or absent, the lock is free, and a partial write disturbs nothing.
The process that saves ends by itself if the killing one does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time

from pathlib import Path

import anyio
import attrs

from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore


KEY = StoreKey("https://api.test", "client-1")
#: Record sizes: from one page to many.
_LENGTHS = (100, 3_000, 60_000)
#: A kill comes within the time of this many saves.
_SAVES = 10


@attrs.frozen
class Tally:
    """How many kills there were, how many hit a save, and how many different records were found."""

    kills: int
    halves: int
    records: int


def run(folder: Path, kills: int, seed: int, within: float | None = None) -> Tally:
    """
    Kill that often, each *within* so many seconds; as long as some saves take if there is none.

    Raises:
        AssertionError: If a kill left damage.
    """
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    halves, seen = 0, set()
    parent = os.getpid()
    for number in range(kills):
        longest = anyio.run(_time_saves, folder) if within is None else within
        _wait_for_threads()
        ready, tell = os.pipe()
        # Forked, as a thousand starts of an interpreter would take minutes; nothing else runs here.
        child = os.fork()
        if child == 0:
            try:
                anyio.run(_save_on_and_on, folder, number, tell, parent)
            finally:
                os._exit(1)
        os.close(tell)
        assert os.read(ready, 1), "the child could not have the lease"
        os.close(ready)
        try:
            time.sleep(rng.uniform(0, longest))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        halves += any(folder.glob("*.part"))
        seen.add(anyio.run(_look, folder))
    return Tally(kills, halves, len(seen))


def _wait_for_threads() -> None:
    """Wait until this thread is the only one: a fork copies the locks of other threads, but not the threads."""
    while threading.active_count() > 1:
        time.sleep(0.001)


async def _time_saves(folder: Path) -> float:
    """Return the seconds that some saves take on this machine now."""
    store = FileTokenStore(folder.with_name("timed"))
    lease = await store.lease(KEY)
    assert lease is not None
    began = time.monotonic()
    for length in _LENGTHS:
        await store.save(KEY, _record("timed", length), lease)
    took = time.monotonic() - began
    await lease.release()
    return took / len(_LENGTHS) * _SAVES


async def _save_on_and_on(folder: Path, number: int, tell: int, parent: int) -> None:
    store = FileTokenStore(folder)
    lease = await store.lease(KEY)
    assert lease is not None
    os.write(tell, b".")
    for round_ in itertools.count():
        if os.getppid() != parent:
            return
        length = _LENGTHS[round_ % len(_LENGTHS)]
        await store.save(KEY, _record(f"{number}-{round_}", length), lease)


async def _look(folder: Path) -> str:
    store = FileTokenStore(folder)
    record = await store.load(KEY)
    version = "absent"
    if record is not None:
        version = record.version
        jwt = record.token.jwt.reveal()
        assert jwt == _record(version, len(jwt)).token.jwt.reveal()
        assert len(jwt) in _LENGTHS
    lease = await store.lease(KEY)
    assert lease is not None, "the killed process still has the lock"
    if list(folder.glob("*.part")):
        assert await store.save(KEY, record or _record("first", _LENGTHS[0]), lease)
        assert not list(folder.glob("*.part"))
    await lease.release()
    return version


def _record(version: str, length: int) -> TokenRecord:
    return TokenRecord(
        token=Token(jwt=Secret((version * length)[:length])),
        version=version,
        lifetime=900.0,
        refresh_lifetime=None,
        age=0.0,
        refresh_spent=False,
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--within", type=float, help="seconds until a kill; a few saves if not given"
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        tally = run(Path(folder) / "tokens", wanted.kills, wanted.seed, wanted.within)
    print(  # noqa: T201
        f"clean: {tally.kills:,} kills, {tally.halves} of them half-way through a save, "
        f"{tally.records} different records seen, {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
