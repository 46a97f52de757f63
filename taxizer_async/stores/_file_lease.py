"""
The lease of a file store: a lock of the kernel, and a heartbeat.

The kernel releases the lock when the process that holds it ends. A holder that is stopped, or whose event
loop was closed, keeps it, so a holder also touches the lock file. A process that has seen no touch for
`LEASE_SECONDS` puts a new lock file, which it has locked before, in the place of the old one: the lease
belongs to the lock of the file that has the name. Three things may happen at the same time:

- Two processes replace the file. The new one has another name at first, and only one of the two can lock it.
- The holder comes back while it is being replaced. A holder touches the file, then looks for a new one; its
  successor locks the new one, then looks for a touch. So at least one of them sees the other, and gives way.
- The holder comes back in the middle of a save, just before it renames the file that it wrote. Its successor
  has removed that file by then.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time

from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeAlias, final

import attrs

from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import AbandonableCalls, call_aside
from taxizer_async.stores._private_directory import PrivateDirectory
from taxizer_async.stores._protocol import HEARTBEAT, LEASE_SECONDS, StoreKey


try:
    import filelock
except ImportError as _missing:
    _msg = 'FileTokenStore needs filelock: pip install "taxizer-async[file]"'
    raise ImportError(_msg) from _missing


#: How much of the time between two looks counts as silence: a process that was suspended heard nothing.
_LONGEST_GAP: Final = LEASE_SECONDS / 2

#: The device and number of a file.
_Identity: TypeAlias = tuple[int, int]
#: What a touch changes: the identity of the lock file, and its time in nanoseconds.
_Beat: TypeAlias = tuple[_Identity, int]


@final
@attrs.define
class BeatWatch:
    """
    The heartbeats that this process has seen of others; any thread may use it.

    Silence is counted by this process's own clock: the times of two processes are never compared.

    Args:
        clock: Returns seconds that do not count the machine's sleep, in which nobody beats.
    """

    _clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, _Sighting] = attrs.field(factory=dict[Path, "_Sighting"])

    def silence(self, path: Path, beat: _Beat) -> float:
        """Return for how many seconds *beat* has been the last one of the lock file *path*."""
        now = self._clock()
        seen = self._seen.get(path)
        silent = 0.0
        if seen is not None and seen.beat == beat:
            silent = seen.silent + min(now - seen.at, _LONGEST_GAP)
        self._seen[path] = _Sighting(beat, now, silent)
        return silent


@attrs.frozen
class _Sighting:
    beat: _Beat
    at: float
    silent: float


@final
@attrs.define
class LeaseAttempt:
    """
    One attempt at the lease, made in a thread that may be left behind.

    A caller that gives up must not leave a lock that the thread takes later.

    Args:
        directory: Where the lock file is.
        name: The name of the record.
        key: The key of the record.
        watch: Sees the heartbeats of holders.
        calls: Makes the calls of the lease.
    """

    _directory: PrivateDirectory
    _name: str
    _key: StoreKey
    _watch: BeatWatch
    _calls: AbandonableCalls
    _mutex: threading.Lock = attrs.field(factory=threading.Lock)
    _given_up: bool = False
    _lease: FileLease | None = None

    @property
    def _path(self) -> Path:
        return self._directory.path / f"{self._name}.lock"

    def take(self) -> FileLease | None:
        locked = _LockedFile.of(self._path) or self._take_over()
        if locked is None:
            return None
        # Outside the mutex, which the event loop takes: this asks the file system.
        lease = FileLease(self._key, self._path, locked, self._calls)
        try:
            if not self._begin(lease):
                return None
        except BaseException:
            lease.release_sync()
            raise
        with self._mutex:
            if not self._given_up:
                self._lease = lease
                return lease
        lease.release_sync()
        return None

    def give_up(self) -> None:
        """Release the lock, now or when the thread takes it."""
        with self._mutex:
            self._given_up = True
            lease = self._lease
        if lease is not None:
            lease.release_in_background()

    def _begin(self, lease: FileLease) -> bool:
        # In this order: after a beat all that was written before is another holder's, dead or left behind.
        partial = self._directory.partial_writes(self._name)
        if not lease.beat():
            lease.release_sync()
            return False
        for path in partial:
            path.unlink(missing_ok=True)
        return True

    def _take_over(self) -> _LockedFile | None:
        """Put a new lock in the place of one whose holder gives no sign of life."""
        beat = _last_beat(self._path)
        if beat is None or self._watch.silence(self._path, beat) < LEASE_SECONDS:
            return None
        if os.name != "posix":  # Windows replaces no file that is open
            return None
        new = _LockedFile.of(_successor(self._path))
        if new is None:
            return None
        is_taken = False
        try:
            # In this order: a holder that beats after this look sees the new lock.
            if new.is_in_place() and _last_beat(self._path) == beat:
                new.path.replace(self._path)
                is_taken = True
        finally:
            if not is_taken:
                new.discard()
        return new if is_taken else None


@final
@attrs.define(eq=False)
class FileLease:
    """A lock that is held; a forked child has no part in it."""

    _key: StoreKey
    _path: Path
    _locked: _LockedFile
    _calls: AbandonableCalls
    # A call that is under way in a thread left behind ends before the lock is released.
    _mutex: PerProcess[threading.Lock] = attrs.field(factory=lambda: PerProcess(threading.Lock))
    _sequences: itertools.count[int] = attrs.field(factory=itertools.count)
    _latest: int = 0

    @property
    def heartbeat(self) -> float | None:
        return HEARTBEAT

    async def extend(self) -> bool:
        return await self._calls.run(self.beat)

    async def release(self) -> None:
        try:
            await self._calls.run(self.release_sync)
        except BaseException:
            # Too many calls hang, or it was cancelled before its thread was started.
            self.release_in_background()
            raise

    def release_in_background(self) -> None:
        call_aside(self.release_sync)

    def release_sync(self) -> None:
        if not self._mutex.is_inherited:
            with self._mutex.get():
                self._locked.lock.release()

    def beat(self) -> bool:
        """Give a sign of life; return whether the lease is held, and nobody is taking it over."""
        if not self.is_of(self._key):
            return False
        # In this order: a process that looked before this touch had locked its new file by then.
        _touch(self._path)
        return not _is_being_replaced(self._path) and self.is_of(self._key)

    def next_sequence(self) -> int:
        """Return the number of a call of `run_while_held`."""
        return next(self._sequences)

    def run_while_held(self, call: Callable[[], bool], sequence: int) -> bool:
        """
        Return what *call* returns; the lock is not released meanwhile.

        Return False without calling if a call with a later *sequence* has come before: a thread that was
        left behind may start late, and must not undo what was done since.
        """
        if self._mutex.is_inherited:
            return False
        with self._mutex.get():
            if sequence < self._latest:
                return False
            self._latest = sequence
            return call()

    def is_of(self, key: StoreKey) -> bool:
        """Return whether the lock of *key* is held, and its file is still the one that others see."""
        is_ours = not self._mutex.is_inherited and self._locked.lock.is_locked and self._key == key
        return is_ours and self._locked.file == _identity(self._path)


@final
@attrs.frozen
class _LockedFile:
    """
    A file that this process has locked.

    Attributes:
        path: The name that it had when it was locked.
        lock: The lock.
        file: What was locked, whatever has the name by now.
    """

    path: Path
    lock: filelock.BaseFileLock
    file: _Identity

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Lock the file *path*, which is made if it does not exist; None if it is locked."""
        files: list[_Identity] = []
        lock = filelock.FileLock(
            path,
            mode=0o600,
            # It is taken in one thread and released in another.
            thread_local=False,
            blocking=False,
            # Only the kernel releases the lock of a process that dies.
            fallback_to_soft=False,
            preserve_lock_file=True,
            on_acquired=lambda descriptor: files.append(_identity_in(os.fstat(descriptor))),
        )
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        return cls(path, lock, files[0])

    def is_in_place(self) -> bool:
        return self.file == _identity(self.path)

    def discard(self) -> None:
        """Remove the file, and release its lock."""
        try:
            if self.is_in_place():
                self.path.unlink()
        finally:
            self.lock.release()


def _successor(path: Path) -> Path:
    """Return the name of a lock file that is to replace *path*."""
    return path.with_name(f"{path.name}.next")


def _is_being_replaced(path: Path) -> bool:
    new = _successor(path)
    if _identity(new) is None:
        return False
    left = _LockedFile.of(new)
    if left is None:
        return True
    # The process that made it was killed.
    left.discard()
    return False


def _touch(path: Path) -> None:
    # Not the kernel's own time, which stands still for milliseconds.
    now = time.time_ns()
    with contextlib.suppress(FileNotFoundError):
        os.utime(path, ns=(now, now))


def _last_beat(path: Path) -> _Beat | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return _identity_in(status), status.st_mtime_ns


def _identity(path: Path) -> _Identity | None:
    beat = _last_beat(path)
    return None if beat is None else beat[0]


def _identity_in(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
