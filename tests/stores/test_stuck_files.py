"""A file system that does not answer: the event loop goes on, and nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import threading

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import pytest

from taxizer_async import Secret
from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import AbandonableCalls
from taxizer_async.stores import Lease, _file_lease, _private_directory
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing._store_suite.harness import leased_in_turn
from tests.stores.conftest import JWT, KEY, make_record
from tests.support.families import PATIENCE


@final
class Stuck:
    """Makes a function of *module* hang until it is released; only worker threads may call it."""

    def __init__(self, module: object, name: str) -> None:
        self.calls_in_the_loop = 0
        self._module, self._name = module, name
        self._real: Callable[..., Any] = getattr(module, name)
        self._entered = threading.Semaphore(0)
        self._answer = threading.Event()
        self._loop = threading.current_thread()

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wait(*arguments: Any, **more: Any) -> Any:
            if threading.current_thread() is self._loop:
                self.calls_in_the_loop += 1
            else:
                self._entered.release()
                assert self._answer.wait(PATIENCE)
            return self._real(*arguments, **more)

        monkeypatch.setattr(self._module, self._name, wait)

    async def until_entered(self) -> None:
        assert await anyio.to_thread.run_sync(partial(self._entered.acquire, timeout=PATIENCE))

    def answer(self) -> None:
        self._answer.set()


@attrs.define
class Bench:
    store: FileTokenStore
    lease: Lease | None = None

    async def load(self) -> None:
        await self.store.load(KEY)

    async def take(self) -> None:
        await self.store.lease(KEY)

    async def save(self) -> None:
        assert self.lease is not None
        await self.store.save(KEY, make_record("another"), self.lease)

    async def clear(self) -> None:
        await self.store.clear(KEY)

    async def extend(self) -> None:
        assert self.lease is not None
        await self.lease.extend()

    async def release(self) -> None:
        assert self.lease is not None
        await self.lease.release()


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> Bench:
    bench = Bench(FileTokenStore(tmp_path / "tokens"))
    lease = await bench.store.lease(KEY)
    assert lease is not None
    assert await bench.store.save(KEY, make_record(), lease)
    await lease.release()
    return bench


Directory = _private_directory.PrivateDirectory
WITHOUT: dict[str, tuple[Callable[[Bench], Coroutine[Any, Any, None]], object, str]] = {
    "load, its check": (Bench.load, Directory, "_check"),
    "load, its open": (Bench.load, os, "open"),
    "lease, its check": (Bench.take, Directory, "_check"),
    "lease, its open": (Bench.take, os, "open"),
    "lease, its lock": (Bench.take, fcntl, "flock"),
    "lease, once it is taken": (Bench.take, _file_lease, "_identity"),
    "lease, its touch": (Bench.take, os, "utime"),
    "clear, its sync": (Bench.clear, os, "fsync"),
}
WITH: dict[str, tuple[Callable[[Bench], Coroutine[Any, Any, None]], object, str]] = {
    "save, its look": (Bench.save, _file_lease, "_identity"),
    "save, its sync": (Bench.save, os, "fsync"),
    "save, its rename": (Bench.save, Path, "replace"),
    "extend, its look": (Bench.extend, _file_lease, "_identity"),
    "extend, its touch": (Bench.extend, os, "utime"),
    "release, its close": (Bench.release, os, "close"),
}
CALLS: Final = WITHOUT | WITH


@pytest.mark.parametrize("name", CALLS)
async def test_who_is_cancelled_goes_at_once_and_leaves_nothing(
    bench: Bench, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on; the abandoned call ends once there is an answer, and the lease is free."""
    call, module, function = CALLS[name]
    if name in WITH:
        bench.lease = await bench.store.lease(KEY)
    stuck = Stuck(module, function)
    with monkeypatch.context() as patch:
        try:
            stuck.begin(patch)
            began = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, bench)
                await stuck.until_entered()
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            # Not by a timeout, which a blocked loop would not notice.
            assert anyio.current_time() - began < PATIENCE / 3
        finally:
            stuck.answer()

        assert stuck.calls_in_the_loop == 0
        if bench.lease is not None:
            await bench.lease.release()
        lease = await leased_in_turn(FileTokenStore(tmp_path / "tokens"), KEY)
    record = await bench.store.load(KEY)
    assert (record is None) == (call is Bench.clear)
    if record is not None:
        assert record.token.jwt.reveal() in {JWT, "another"}
    assert await bench.store.save(KEY, make_record("next"), lease) is True
    await lease.release()


async def test_a_lease_that_comes_too_late_is_given_back(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that is cancelled after the lock was taken, but before it got the lease, does not keep it."""
    taken = threading.Event()
    kept: list[object] = []
    givers: list[threading.Thread] = []
    take, release_sync = _file_lease.LeaseAttempt.take, _file_lease.FileLease.release_sync

    def take_and_tell(attempt: _file_lease.LeaseAttempt) -> _file_lease.FileLease | None:
        lease = take(attempt)
        # Otherwise the garbage collector would release it.
        kept.append(attempt)
        taken.set()
        return lease

    def note_thread(lease: _file_lease.FileLease) -> None:
        givers.append(threading.current_thread())
        release_sync(lease)

    with monkeypatch.context() as patch:
        patch.setattr(_file_lease.LeaseAttempt, "take", take_and_tell)
        patch.setattr(_file_lease.FileLease, "release_sync", note_thread)
        stuck = Stuck(_file_lease.LeaseAttempt, "take")
        stuck.begin(patch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.take)
            await stuck.until_entered()
            stuck.answer()
            # The loop is blocked, so that it can't hand over the lease.
            assert taken.wait(PATIENCE)
            tasks.cancel_scope.cancel()
    lease = await leased_in_turn(FileTokenStore(tmp_path / "tokens"), KEY)

    assert len(kept) == len(givers) == 1
    assert threading.current_thread() not in givers
    await lease.release()


async def test_a_release_that_is_refused_is_done_all_the_same(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is released even if too many calls hang already."""
    bench.lease = await bench.store.lease(KEY)
    monkeypatch.setattr(bench.store._calls, "_free", PerProcess(lambda: threading.Semaphore(0)))
    with pytest.raises(TimeoutError, match="have not been answered"):
        await bench.release()

    await (await leased_in_turn(FileTokenStore(tmp_path / "tokens"), KEY)).release()


async def test_a_save_that_was_given_up_ends_before_its_lease_does(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abandoned save ends before its lease does, so that the next holder saves after it."""
    bench.lease = await bench.store.lease(KEY)
    stuck = Stuck(os, "fsync")
    other = FileTokenStore(tmp_path / "tokens")
    with monkeypatch.context() as patch:
        try:
            stuck.begin(patch)
            with anyio.move_on_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(bench.save)
                    await stuck.until_entered()
                    tasks.cancel_scope.cancel()
            with anyio.move_on_after(0.1) as given_up:
                await bench.release()
            assert given_up.cancelled_caught
            assert await other.lease(KEY) is None
        finally:
            stuck.answer()
        lease = await leased_in_turn(other, KEY)
    record = await other.load(KEY)

    assert record is not None
    assert record.token.jwt.reveal() == "another"
    await lease.release()


async def test_a_save_that_begins_late_does_not_undo_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abandoned save whose thread starts late does nothing after a later save."""
    store = FileTokenStore(tmp_path / "tokens")
    lease = await leased_in_turn(store, KEY)
    late: list[Callable[[], bool]] = []

    async def leave_alone(_: object, call: Callable[[], bool]) -> None:
        late.append(call)
        await anyio.sleep_forever()

    with monkeypatch.context() as patch, anyio.CancelScope() as scope:
        patch.setattr(AbandonableCalls, "run", leave_alone)
        scope.cancel()
        await store.save(KEY, make_record("late"), lease)
    assert await store.save(KEY, make_record("next"), lease)
    done = await anyio.to_thread.run_sync(late[0])
    await lease.release()

    assert not done
    loaded = await store.load(KEY)
    assert loaded is not None
    assert loaded.token.jwt == Secret("next")
