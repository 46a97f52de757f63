"""
The store in files: the processes of one machine share a token.

Needs the extra: `pip install "taxizer-async[file]"`.
"""

from __future__ import annotations

import contextlib
import os

from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, cast, final

import attrs

from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.threads import AbandonableCalls
from taxizer_async.stores._check import probe
from taxizer_async.stores._encryption import EncryptionKey, OpaqueBytes, make_record_cipher
from taxizer_async.stores._file_lease import BeatWatch, FileLease, LeaseAttempt
from taxizer_async.stores._machine_time import MachineTime
from taxizer_async.stores._private_directory import PrivateDirectory
from taxizer_async.stores._protocol import (
    FailureRecord,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    with_remaining,
)
from taxizer_async.stores._records import RECORD_FORMAT, Stored


__all__ = ["FileTokenStore"]

#: How many calls may hang at a time in a file system that does not answer.
_MOST_CALLS: Final = 32


@final
class FileTokenStore:
    """
    Shares tokens among the processes of one machine, in files that only their user can read.

    Each pair of base_url and client_id has its own file, and a lock that the kernel releases when the
    process that holds it ends; one that gives no sign of life for 5 s loses it, too. Nothing blocks the
    event loop. Several event loops and threads may use the store, and so may a forked child.

    Args:
        path: A directory. It is created, with mode 0700, if it does not exist; one that others can write
            to is refused, and so is a link. It should be on a local disk: not all network file systems lock.
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. Without
            one the files hold the tokens in plain text.

    Raises:
        ConfigurationError: If an argument is wrong, or encryption is wanted but not installed.
    """

    __slots__ = ("_calls", "_cipher", "_directory", "_path", "_watch")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encryption_key: EncryptionKey | None = None,
    ) -> None:
        cipher = make_record_cipher(encryption_key)
        # Not in a frame that raises: see `_core.secret`.
        del encryption_key
        if isinstance(cipher, ConfigurationError):
            raise cipher
        self._cipher: Final = cipher
        self._path: Final = _read_path(path)
        self._directory: Final = PrivateDirectory(self._path)
        self._calls: Final = AbandonableCalls(_MOST_CALLS)
        self._watch: Final = BeatWatch()

    def __repr__(self) -> str:
        """Show the directory."""
        # A debugger may show the store before it has a path.
        path = getattr(self, "_path", None)
        return f"{type(self).__name__}({str(path)!r})"

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """
        Return the record of *key*, if there is one.

        Raises:
            TokenStoreError: If it is damaged, encrypted with another key, or not private.
            OSError: If the file system refuses.
        """
        return await self._calls.run(lambda: self._load(key))

    async def look(self, key: StoreKey, /) -> StoreView:
        """Return the record and the failure of *key*, if there are any; raises as `load` does."""

        def look() -> StoreView:
            return StoreView(record=self._load(key), failure=self._load_failure(key))

        return await self._calls.run(look)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """
        Replace the record of *key*, durably; False, and nothing done, if *lease* is lost.

        A damaged file is kept under a name that ends in `.damaged`. Raises as `load` does.
        """
        if not isinstance(lease, FileLease):
            return False
        return await self._run_while_held(lease, lambda: self._save(key, record, lease))

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        """Keep *failure* while it is remembered; as `save`."""
        if not isinstance(lease, FileLease):
            return False
        return await self._run_while_held(lease, lambda: self._save_failure(key, failure, lease))

    async def clear(self, key: StoreKey, /) -> None:
        """Remove the record of *key*, its failure and its damaged file; raises as `load` does."""
        await self._calls.run(lambda: self._clear(key))

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free; raises as `load` does."""
        attempt = self._attempt(key)

        def take() -> FileLease | None:
            self._directory.prepare()
            return attempt.take()

        try:
            return await self._calls.run(take)
        except BaseException:
            attempt.give_up()
            raise

    async def check(self) -> None:
        """
        Write, read and remove a record that belongs to nobody.

        Raises:
            TokenStoreError: If the directory can't be used; it says why.
        """
        try:
            await probe(self, "check")
        except OSError as cause:
            reason = os.strerror(cause.errno) if cause.errno else type(cause).__name__
            msg = f"{str(self._path)!r} can't be used: {reason}"
        else:
            return
        raise TokenStoreError(msg)

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would contain the encryption key."""
        msg = f"{type(self).__name__} can't be pickled: make one with the same path in each process"
        raise TypeError(msg)

    async def _run_while_held(self, lease: FileLease, save: Callable[[], bool]) -> bool:
        sequence = lease.next_sequence()
        return await self._calls.run(lambda: lease.run_while_held(save, sequence))

    def _load(self, key: StoreKey) -> TokenRecord | None:
        data = self._directory.read(_file_name(key))
        return None if data is None else self._open(data, key)

    def _open(self, data: OpaqueBytes, key: StoreKey) -> TokenRecord:
        stored = self._cipher.decrypt(data, key)
        moment = MachineTime.from_dict(stored.written)
        if moment is None:
            msg = "the record does not say when it was written; it is replaced at the next login"
            raise TokenStoreError(msg)
        passed = MachineTime.now().since(moment)
        return attrs.evolve(stored.content, age=stored.content.age + passed)

    def _load_failure(self, key: StoreKey) -> FailureRecord | None:
        data = None
        with contextlib.suppress(OSError, TokenStoreError):
            data = self._directory.read(_failure_name(key))
        stored = None if data is None else self._cipher.decrypt_failure(data, key)
        if stored is None:
            return None
        moment, now = MachineTime.from_dict(stored.written), MachineTime.now()
        if moment is None or moment.boot != now.boot:
            return None
        # Not by the wall clock: a failure lasts for a minute at most, even if that is set back.
        passed = now.uptime - moment.uptime
        failure = stored.content
        return with_remaining(failure, failure.remaining - passed) if passed >= 0 else None

    def _save(self, key: StoreKey, record: TokenRecord, lease: FileLease) -> bool:
        self._directory.prepare()
        name = _file_name(key)
        written = attrs.asdict(MachineTime.now())
        data = self._cipher.encrypt(Stored(key=key, content=record, written=written))
        if not lease.is_of(key):
            return False
        self._set_aside_if_damaged(key, lease)
        is_saved = self._directory.replace(name, data, still=lambda: lease.is_of(key))
        if is_saved:
            self._directory.discard(_failure_name(key))
        return is_saved

    def _save_failure(self, key: StoreKey, failure: FailureRecord, lease: FileLease) -> bool:
        self._directory.prepare()
        written = attrs.asdict(MachineTime.now())
        data = self._cipher.encrypt(Stored(key=key, content=failure, written=written))
        return self._directory.replace(_failure_name(key), data, still=lambda: lease.is_of(key))

    def _clear(self, key: StoreKey) -> None:
        name = _file_name(key)
        self._directory.remove(name)
        self._directory.discard(_failure_name(key))
        if not self._directory.partial_writes(name):
            return
        # The holder of the lease is writing it. If the lease can be had there is no holder, so a process was
        # killed as it wrote; taking the lease removes what it left.
        lease = self._attempt(key).take()
        if lease is not None:
            lease.release_sync()

    def _attempt(self, key: StoreKey) -> LeaseAttempt:
        return LeaseAttempt(self._directory, _file_name(key), key, self._watch, self._calls)

    def _set_aside_if_damaged(self, key: StoreKey, lease: FileLease) -> None:
        name = _file_name(key)
        data = self._directory.read(name)
        if data is None:
            return
        try:
            self._open(data, key)
        except TokenStoreError:
            if self._cipher.may_be_kept(data):
                self._directory.set_aside(name, data, still=lambda: lease.is_of(key))


def _file_name(key: StoreKey) -> str:
    return f"{key.digest}.{RECORD_FORMAT}.json"


def _failure_name(key: StoreKey) -> str:
    # What a killed process left of writing it is removed with what it left of writing the record.
    return f"{_file_name(key)}.failure"


def _read_path(path: object) -> Path:
    is_path = isinstance(path, os.PathLike)
    text: object = os.fspath(cast("os.PathLike[str]", path)) if is_path else path
    if not isinstance(text, str):
        msg = f"path must name a directory, as a str or a Path, not {type(path).__name__}"
        raise ConfigurationError(msg)
    if not text or "\0" in text:
        msg = "path must name a directory: it is empty or contains a NUL"
        raise ConfigurationError(msg)
    return Path(text).absolute()
