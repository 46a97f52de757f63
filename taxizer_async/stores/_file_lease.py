"""The lease of a file store: a lock that the kernel releases when the process that holds it ends."""

from __future__ import annotations

import itertools
import threading

from typing import TYPE_CHECKING, final

from taxizer_async._core.process import PerProcess
from taxizer_async._core.threads import call_aside


try:
    import filelock
except ImportError as _missing:
    _msg = 'FileTokenStore needs filelock: pip install "taxizer-async[file]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taxizer_async._core.threads import AbandonableCalls
    from taxizer_async.stores._protocol import StoreKey


@final
class LeaseAttempt:
    """
    One attempt at the lock, made in a thread that may be left behind.

    A caller that gives up must not leave a lock that the thread takes later.
    """

    __slots__ = ("_calls", "_given_up", "_key", "_lease", "_mutex", "_path")

    def __init__(self, path: Path, key: StoreKey, calls: AbandonableCalls) -> None:
        self._path = path
        self._key = key
        self._calls = calls
        self._mutex = threading.Lock()
        self._given_up = False
        self._lease: FileLease | None = None

    def take(self) -> FileLease | None:
        """Return the lease; None if another holds it."""
        lock = filelock.FileLock(
            self._path,
            mode=0o600,
            # It is taken in one thread and released in another.
            thread_local=False,
            blocking=False,
            # Only the kernel releases the lock of a process that dies.
            fallback_to_soft=False,
            preserve_lock_file=True,
        )
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        # Outside the mutex, which the event loop takes: this asks the file system.
        lease = FileLease(self._key, self._path, lock, self._calls)
        with self._mutex:
            if self._given_up:
                lock.release()
                return None
            self._lease = lease
            return lease

    def give_up(self) -> None:
        """Release the lock, now or when the thread takes it."""
        with self._mutex:
            self._given_up = True
            lease = self._lease
        if lease is not None:
            lease.release_in_background()


@final
class FileLease:
    """A lock that is held; a forked child has no part in it."""

    __slots__ = ("_calls", "_file", "_key", "_latest", "_lock", "_mutex", "_path", "_sequences")

    def __init__(
        self, key: StoreKey, path: Path, lock: filelock.BaseFileLock, calls: AbandonableCalls
    ) -> None:
        self._key = key
        self._path = path
        self._lock = lock
        self._calls = calls
        self._file = _identity(path)
        # A call that is under way in a thread left behind ends before the lock is released.
        self._mutex = PerProcess(threading.Lock)
        self._sequences = itertools.count(1)
        self._latest = 0

    @property
    def heartbeat(self) -> float | None:
        return None

    async def extend(self) -> bool:
        return await self._calls.run(lambda: self.is_of(self._key))

    async def release(self) -> None:
        try:
            await self._calls.run(self.release_sync)
        except BaseException:
            # Too many calls hang, or it was cancelled before its thread was started.
            self.release_in_background()
            raise

    def release_in_background(self) -> None:
        """Release the lock without waiting."""
        call_aside(self.release_sync)

    def release_sync(self) -> None:
        if not self._mutex.is_inherited:
            with self._mutex.get():
                self._lock.release()

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
        is_ours = not self._mutex.is_inherited and self._lock.is_locked and self._key == key
        return is_ours and self._file is not None and self._file == _identity(self._path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
