"""
The store in files: the processes of one machine share a token.

Needs the extra: `pip install "taxizer-async[file]"`. Here it is decided which file is whose, who may
replace it and when; how a file is read and replaced is in `_private_directory`.
"""

from __future__ import annotations

import itertools
import os
import threading

from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, cast, final

import attrs

from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.threads import AbandonableCalls, call_aside
from taxizer_async.stores._encryption import make_envelope, name_of
from taxizer_async.stores._machine_time import Moment
from taxizer_async.stores._private_directory import PrivateDirectory
from taxizer_async.stores._records import RECORD_FORMAT, StoredRecord


try:
    import filelock
except ImportError as _missing:
    _msg = 'FileTokenStore needs filelock: pip install "taxizer-async[file]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.stores._encryption import EncryptionKey, Sealed
    from taxizer_async.stores._protocol import Lease, StoreKey, TokenRecord


__all__ = ["FileTokenStore"]

#: So many calls at a time may be stuck in a file system that does not answer.
_MOST_CALLS: Final = 32


@final
class FileTokenStore:
    """
    Shares tokens among the processes of one machine, in files that only their user can read.

    Each base_url and client_id has a file of its own, and a lock of the kernel's that ends with the
    process that holds it. Nothing blocks the event loop. It may be used by several event loops and
    threads, and in a forked child.

    Args:
        path: A directory. It is made, with mode 0700, if it is not there; one that others can write to
            is refused. It should be on a local disk: not all network file systems lock.
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. Without
            one the tokens are in the clear in these files.

    Raises:
        ConfigurationError: If an argument is wrong, or encryption is wanted and not installed.
    """

    __slots__ = ("_calls", "_directory", "_envelope", "_path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encryption_key: EncryptionKey | None = None,
    ) -> None:
        envelope = make_envelope(encryption_key)
        # The frames of a traceback may be captured with their arguments.
        del encryption_key
        if isinstance(envelope, ConfigurationError):
            raise envelope
        self._envelope: Final = envelope
        self._path: Final = _read_path(path)
        self._directory: Final = PrivateDirectory(self._path)
        self._calls: Final = AbandonableCalls(_MOST_CALLS)

    def __repr__(self) -> str:
        """Show the directory."""
        # A traceback may show it before it has one.
        path = getattr(self, "_path", None)
        return f"{type(self).__name__}({str(path)!r})"

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """
        Return the record of *key*, if there is one.

        Raises:
            TokenStoreError: If it is damaged, encrypted with another key, or not private.
            OSError: If the file system says no.
        """
        return await self._calls.run(lambda: self._load(key))

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """
        Replace the record of *key*, durably; False, and nothing done, if *lease* is lost.

        A damaged file is set aside. Raises as `load` does.
        """
        if not isinstance(lease, _FileLease):
            return False
        turn = lease.take_turn()
        return await self._calls.run(
            lambda: lease.while_held(lambda: self._save(key, record, lease), turn)
        )

    async def clear(self, key: StoreKey, /) -> None:
        """Remove the record of *key*, and what was set aside of it; raises as `load` does."""
        await self._calls.run(lambda: self._clear(key))

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free; raises as `load` does."""
        attempt = self._attempt(key)

        def take() -> _FileLease | None:
            self._directory.prepare()
            return attempt.take()

        try:
            return await self._calls.run(take)
        except BaseException:
            attempt.give_up()
            raise

    def __reduce__(self) -> NoReturn:
        """Say that each process makes its own: a pickle would have the key in it."""
        msg = f"{type(self).__name__} is not pickled: make one, of the same path, in each process"
        raise TypeError(msg)

    def _load(self, key: StoreKey) -> TokenRecord | None:
        sealed = self._directory.read(_file_name(key))
        return None if sealed is None else self._open(sealed, key)

    def _open(self, sealed: Sealed, key: StoreKey) -> TokenRecord:
        stored = self._envelope.open(sealed, key)
        moment = Moment.restored(stored.written)
        if moment is None:
            msg = "the record does not say when it was written; it is replaced at the next login"
            raise TokenStoreError(msg)
        passed = Moment.now().since(moment)
        return attrs.evolve(stored.record, age=stored.record.age + passed)

    def _save(self, key: StoreKey, record: TokenRecord, lease: _FileLease) -> bool:
        self._directory.prepare()
        name = _file_name(key)
        written = attrs.asdict(Moment.now())
        sealed = self._envelope.seal(StoredRecord(key=key, record=record, written=written))
        if not lease.is_of(key):
            return False
        self._set_aside_if_damaged(key)
        return self._directory.replace(name, sealed, still=lambda: lease.is_of(key))

    def _clear(self, key: StoreKey) -> None:
        name = _file_name(key)
        self._directory.remove(name)
        if not self._directory.is_half_replaced(name):
            return
        # That half is the holder's, who needs it; or there is none, and it was left by one that was killed.
        lease = self._attempt(key).take()
        if lease is not None:
            try:
                self._directory.remove_half(name)
            finally:
                lease.give_back()

    def _attempt(self, key: StoreKey) -> _Attempt:
        return _Attempt(self._path / f"{_file_name(key)}.lock", key, self._calls)

    def _set_aside_if_damaged(self, key: StoreKey) -> None:
        # Only here, with the lease in hand: elsewhere a good one may have taken its place.
        sealed = self._directory.read(_file_name(key))
        if sealed is None:
            return
        try:
            self._open(sealed, key)
        except TokenStoreError:
            if self._envelope.may_be_kept(sealed):
                self._directory.set_aside(_file_name(key))


@final
class _Attempt:
    """
    One attempt at the lock, in a thread that may be left alone meanwhile.

    Whoever gives up must not leave a lock behind that the thread takes later.
    """

    __slots__ = ("_calls", "_given_up", "_key", "_lease", "_mutex", "_path")

    def __init__(self, path: Path, key: StoreKey, calls: AbandonableCalls) -> None:
        self._path = path
        self._key = key
        self._calls = calls
        self._mutex = threading.Lock()
        self._given_up = False
        self._lease: _FileLease | None = None

    def take(self) -> _FileLease | None:
        """Return None if somebody else has it."""
        lock = filelock.FileLock(
            self._path,
            mode=0o600,
            # It is taken in one worker thread and given back in another.
            thread_local=False,
            blocking=False,
            # Without a lock of the kernel's there is none: who dies would keep it.
            fallback_to_soft=False,
            preserve_lock_file=True,
        )
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        # Asks the file system, so not with the mutex, which the event loop takes.
        lease = _FileLease(self._key, self._path, lock, self._calls)
        with self._mutex:
            if self._given_up:
                lock.release()
                return None
            self._lease = lease
            return lease

    def give_up(self) -> None:
        """Give back what was taken, or will be."""
        with self._mutex:
            self._given_up = True
            lease = self._lease
        if lease is not None:
            lease.give_back_soon()


@final
class _FileLease:
    __slots__ = ("_calls", "_file", "_key", "_latest", "_lock", "_mutex", "_path", "_pid", "_turns")

    def __init__(
        self, key: StoreKey, path: Path, lock: filelock.BaseFileLock, calls: AbandonableCalls
    ) -> None:
        self._key = key
        self._path = path
        self._lock = lock
        self._calls = calls
        self._pid = os.getpid()
        self._file = _identity(path)
        # So that what is under way in an abandoned thread ends before the lock does.
        self._mutex = threading.Lock()
        self._turns = itertools.count(1)
        self._latest = 0

    @property
    def heartbeat(self) -> float | None:
        return None

    async def extend(self) -> bool:
        return await self._calls.run(lambda: self.is_of(self._key))

    async def release(self) -> None:
        try:
            await self._calls.run(self.give_back)
        except BaseException:
            # It was refused, as too many calls are stuck, or cancelled before its thread was started.
            self.give_back_soon()
            raise

    def give_back_soon(self) -> None:
        """Give it back without waiting for that."""
        call_aside(self.give_back)

    def give_back(self) -> None:
        # A forked child has no part in it.
        if self._pid == os.getpid():
            with self._mutex:
                self._lock.release()

    def take_turn(self) -> int:
        """Return the number of a call, for `while_held`."""
        return next(self._turns)

    def while_held(self, call: Callable[[], bool], turn: int) -> bool:
        """
        Return what *call* does, in which the lock is not given back.

        False, and nothing done, if it is already, or if a later *turn* has come before: a thread that
        was left alone may begin late, and must not undo what was done since.
        """
        if self._pid != os.getpid():
            return False
        with self._mutex:
            if turn < self._latest:
                return False
            self._latest = turn
            return call()

    def is_of(self, key: StoreKey) -> bool:
        """Say whether the lock of *key* is held, and still is the one that others see."""
        is_ours = self._pid == os.getpid() and self._lock.is_locked and self._key == key
        return is_ours and self._file is not None and self._file == _identity(self._path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _file_name(key: StoreKey) -> str:
    return f"{name_of(key)}.{RECORD_FORMAT}.json"


def _read_path(path: object) -> Path:
    is_path = isinstance(path, os.PathLike)
    text: object = os.fspath(cast("os.PathLike[str]", path)) if is_path else path
    if not isinstance(text, str):
        msg = f"path must be a directory's, as a str or a Path, not {type(path).__name__}"
        raise ConfigurationError(msg)
    if not text or "\0" in text:
        msg = "path must be a directory's: it is empty, or has a NUL in it"
        raise ConfigurationError(msg)
    return Path(text).absolute()
