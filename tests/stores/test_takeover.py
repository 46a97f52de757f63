"""Leases whose holders give no sign of life: another process takes them over, and nothing is lost."""

from __future__ import annotations

import os
import threading

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import filelock
import pytest

from taxizer_async.stores import Lease, _file_lease
from taxizer_async.stores._file_lease import BeatWatch, _LockedFile
from taxizer_async.stores._protocol import HEARTBEAT, LEASE_SECONDS
from taxizer_async.stores.file import FileTokenStore
from tests.stores.conftest import (
    JWT,
    KEY,
    held,
    jwt_in,
    lowest_free_descriptor,
    make_record,
    taken_over,
)
from tests.support.limits import HANG


LOCK = Path("tokens.lock")
BEAT = ((1, 2), 3)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="silent")
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lock counts as silent for long enough."""
    monkeypatch.setattr(BeatWatch, "silence", lambda *_: LEASE_SECONDS)


class Stop:
    """Holds up the first call of a function of *kind*, which is made in a thread."""

    def __init__(self, kind: Any, name: str) -> None:
        self._kind, self._name = kind, name
        self._real: Callable[..., Any] = getattr(kind, name)
        self._reached, self._go_on = threading.Event(), threading.Event()

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def call(*arguments: Any) -> Any:
            if not self._reached.is_set():
                self._reached.set()
                assert self._go_on.wait(HANG)
            return self._real(*arguments)

        monkeypatch.setattr(self._kind, self._name, call)

    async def reached(self) -> None:
        assert await anyio.to_thread.run_sync(self._reached.wait, HANG)

    def end(self) -> None:
        self._go_on.set()


def test_silence_counts_from_the_first_look() -> None:
    """A beat is as old as this process has known it; one that is new to it is heard now."""
    clock = Clock()
    watch = BeatWatch(clock)
    assert watch.silence(LOCK, BEAT) == 0
    for _ in range(4):
        clock.now += 1.25
        silence = watch.silence(LOCK, BEAT)

    assert silence == LEASE_SECONDS
    assert watch.silence(LOCK, ((1, 2), 4)) == 0
    assert watch.silence(LOCK, ((1, 3), 4)) == 0
    assert watch.silence(Path("other.lock"), BEAT) == 0


def test_a_process_that_was_suspended_has_heard_nothing() -> None:
    """A holder that was suspended with it gets time to beat: a long gap counts as half a lease."""
    clock = Clock()
    watch = BeatWatch(clock)
    watch.silence(LOCK, BEAT)
    clock.now += HEARTBEAT
    watch.silence(LOCK, BEAT)
    clock.now += 3_600

    assert watch.silence(LOCK, BEAT) == HEARTBEAT + LEASE_SECONDS / 2 < LEASE_SECONDS


def test_a_beat_is_due_several_times_in_a_lease() -> None:
    """Two beats in a row may get lost."""
    assert LEASE_SECONDS / HEARTBEAT >= 4


@pytest.mark.invariant(24)
async def test_a_beat_changes_the_lock_file(store: FileTokenStore, folder: Path) -> None:
    """Taking the lease and each `extend` show in the time of the lock file, and in nothing else."""
    lease = await held(store)
    (lock,) = folder.glob("*.lock")
    seen = [lock.stat()]
    for _ in range(3):
        assert await lease.extend()
        seen.append(lock.stat())
    await lease.release()
    again = await held(store)
    seen.append(lock.stat())
    await again.release()

    assert len({each.st_mtime_ns for each in seen}) == len(seen)
    assert len({each.st_ino for each in seen}) == 1


@pytest.mark.invariant(24)
@pytest.mark.usefixtures("silent")
async def test_a_silent_holder_is_left_behind(store: FileTokenStore, folder: Path) -> None:
    """Its successor has the lease and may save; it may not, and its release frees nothing."""
    late = await held(store)
    successor = await taken_over(folder)
    assert await late.extend() is False
    assert await store.save(KEY, make_record("late"), late) is False
    assert await store.save(KEY, make_record(), successor) is True
    await late.release()

    assert await successor.extend() is True
    assert await jwt_in(store) == JWT
    await successor.release()
    await (await held(store)).release()
    assert sorted(file.suffix for file in folder.iterdir()) == [".json", ".lock"]


async def test_one_of_many_takes_over(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many that find the holder silent at the same time one gets the lease."""
    for _ in range(20):
        late = await held(store)
        (lock,) = folder.glob("*.lock")
        left = _file_lease._identity(lock)
        leases: list[Lease] = []

        def silence(_: BeatWatch, __: Path, beat: Any, left: Any = left) -> float:
            return LEASE_SECONDS if beat[0] == left else 0.0

        async def take(leases: list[Lease] = leases) -> None:
            other = FileTokenStore(folder)
            while not leases:
                lease = await other.lease(KEY)
                if lease is not None:
                    leases.append(lease)

        with monkeypatch.context() as patch:
            patch.setattr(BeatWatch, "silence", silence)
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(take)
        assert len(leases) == 1
        assert await leases[0].extend()
        await leases[0].release()
        await late.release()


@pytest.mark.usefixtures("silent")
async def test_a_holder_that_beats_meanwhile_keeps_its_lease(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A touch that comes between the first look and the new lock ends the take-over."""
    lease = await held(store)
    real = _LockedFile.of

    def touch_first(path: Path) -> _LockedFile | None:
        if path.suffix == ".next":
            _file_lease._touch(path.with_suffix(""))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(_LockedFile, "of", touch_first)
        assert await store.lease(KEY) is None

    assert await lease.extend() is True
    await lease.release()


async def test_a_holder_gives_way_to_one_that_is_taking_over(
    store: FileTokenStore, folder: Path
) -> None:
    """While a new lock is there, to be put in place, the old one's holder can't extend, and nobody takes it."""
    lease = await held(store)
    (lock,) = folder.glob("*.lock")
    new = _LockedFile.of(_file_lease._successor(lock))
    assert new is not None

    assert await lease.extend() is False
    await lease.release()
    assert await store.lease(KEY) is None
    new.discard()
    await (await held(store)).release()


async def test_what_a_killed_successor_left_is_removed(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new lock that nobody holds any more is in nobody's way, and not kept open."""
    # Not by the garbage collector.
    monkeypatch.setattr(filelock.BaseFileLock, "__del__", lambda _: None)
    lease = await held(store)
    (lock,) = folder.glob("*.lock")
    new = _file_lease._successor(lock)
    new.touch()
    free = lowest_free_descriptor()
    assert await lease.extend() is True
    assert not new.exists()
    assert lowest_free_descriptor() == free

    new.touch()
    await lease.release()
    await (await held(store)).release()
    assert not new.exists()


async def test_a_late_holder_may_remove_its_partial_write_itself(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that its writer removes while the next holder is about to is no error."""
    await (await held(store)).release()
    (lock,) = folder.glob("*.lock")
    part = lock.with_name(f"{lock.stem}.1.part")
    part.touch()
    touch = _file_lease._touch

    def touch_late(path: Path) -> None:
        part.unlink()
        touch(path)

    with monkeypatch.context() as patch:
        patch.setattr(_file_lease, "_touch", touch_late)
        lease = await held(store)

    assert await lease.extend()
    await lease.release()


@pytest.mark.usefixtures("silent")
async def test_a_take_over_that_fails_leaves_nothing(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the file system is raised, and the next attempt is free to go."""
    late = await held(store)

    def refuse(*_: object) -> Path:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match=os.strerror(5)):
            await store.lease(KEY)
    assert [file.suffix for file in folder.iterdir()] == [".lock"]

    await (await held(store)).release()
    await late.release()


@pytest.mark.invariant(25)
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("before", ["_write", "replace"])
async def test_a_late_save_does_nothing(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch, before: str, damaged: bool
) -> None:
    """Wherever a save is held up, it is refused once another has taken over, and changes no record."""
    late = await held(store)
    assert await store.save(KEY, make_record("first"), late)
    if damaged:
        (record,) = folder.glob("*.json")
        record.write_text("damaged")
    stop = Stop(Path if before == "replace" else type(store._directory), before)
    answers: list[bool] = []

    async def save_late() -> None:
        answers.append(await store.save(KEY, make_record("late"), late))

    with monkeypatch.context() as patch:
        stop.begin(patch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(save_late)
            await stop.reached()
            successor = await taken_over(folder)
            assert await store.save(KEY, make_record(), successor)
            stop.end()

    assert answers == [False]
    assert await jwt_in(store) == JWT
    assert not list(folder.glob("*.part"))
    assert await successor.extend()
    await successor.release()


@pytest.mark.usefixtures("silent")
async def test_a_late_save_takes_no_other_file(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late save does not touch what its successor is writing at the same time."""
    answers: dict[str, bool] = {}
    done = anyio.Event()

    async def save(jwt: str, lease: Lease) -> None:
        answers[jwt] = await store.save(KEY, make_record(jwt), lease)
        done.set()

    late = await held(store)
    stops = [Stop(Path, "replace") for _ in range(2)]
    async with anyio.create_task_group() as tasks:
        for stop, jwt in zip(stops, ("late", "next"), strict=True):
            lease = late if jwt == "late" else await taken_over(folder)
            with monkeypatch.context() as patch:
                stop.begin(patch)
                tasks.start_soon(save, jwt, lease)
                await stop.reached()
        stops[0].end()
        await done.wait()
        stops[1].end()

    assert answers == {"late": False, "next": True}
    assert await jwt_in(store) == "next"
    await late.release()
    await lease.release()
