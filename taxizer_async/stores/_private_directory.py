"""
Small files in a directory that only its user can access, each read and replaced as a whole.

All methods block, so they are called in threads.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat

from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from taxizer_async._core.errors import TokenStoreError
from taxizer_async.stores._encryption import OpaqueBytes


#: Bytes; a record has a few kilobytes.
_LARGEST: Final = 1 << 20
#: The errors of opening a link, and a socket.
_NO_FILE: Final = {errno.ELOOP, errno.ENXIO}
#: How the names of partial writes end.
_PART: Final = ".part"
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
#: For opening a file. Windows has only the last of these, and no owners and modes to check.
_FLAGS: Final[int] = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))


@final
class PrivateDirectory:
    """
    The directory at *path*.

    Raises:
        TokenStoreError: By all methods, if it or a file in it is not private.
        OSError: By all methods, if the file system refuses.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def prepare(self) -> None:
        """Create the directory if it does not exist; check that it is private."""
        try:
            self._check()
        except FileNotFoundError:
            self._make()
            self._check()

    def read(self, name: str) -> OpaqueBytes | None:
        try:
            self._check()
            # Non-blocking, as opening a pipe would wait for its writer.
            descriptor = os.open(self.path / name, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return None
        except OSError as cause:
            if cause.errno not in _NO_FILE:
                raise
        else:
            return self._read(descriptor, name)
        raise self._not_a_file(name)

    def replace(self, name: str, data: OpaqueBytes, *, still: Callable[[], bool]) -> bool:
        """
        Replace the file, durably.

        Return False without replacing it if *still* returns False just before, or if the partial write was
        removed by then.
        """
        # Of its own, so that a writer that was left behind can't touch another's.
        part = self.path / f"{name}.{secrets.token_hex(4)}{_PART}"
        try:
            self._write(part, data)
            if not still():
                return False
            try:
                part.replace(self.path / name)
            except FileNotFoundError:
                return False
        finally:
            part.unlink(missing_ok=True)
        self._sync()
        return True

    def set_aside(self, name: str, data: OpaqueBytes, *, still: Callable[[], bool]) -> None:
        """Keep *data*, which was in the file, in another, so that an operator can inspect it."""
        # Not by renaming: a late one would take away what has replaced the file meanwhile.
        self.replace(_aside(name), data, still=still)

    def remove(self, name: str) -> None:
        """Remove the file, and the one that `set_aside` made."""
        with contextlib.suppress(FileNotFoundError):
            self._check()
            for each in (name, _aside(name)):
                (self.path / each).unlink(missing_ok=True)
            self._sync()

    def discard(self, name: str) -> None:
        """Remove the file, if there is one; it may be back after a crash of the machine."""
        (self.path / name).unlink(missing_ok=True)

    def partial_writes(self, name: str) -> list[Path]:
        """Return what processes are writing in order to replace the file, or wrote before they were killed."""
        try:
            paths = list(self.path.iterdir())
        except FileNotFoundError:
            return []
        return [path for path in paths if path.name.startswith(name) and path.suffix == _PART]

    def _make(self) -> None:
        missing = itertools.takewhile(lambda path: not path.exists(), self.path.parents)
        for path in reversed(list(missing)):
            # A user who can write to one of them could replace the directory.
            _make_directory(path, 0o755)
        _make_directory(self.path, 0o700)

    def _check(self) -> None:
        status = self.path.lstat()
        problem = None
        if stat.S_ISLNK(status.st_mode):
            msg = f"{self.path} is a link, and links are not followed: name the directory itself"
            raise TokenStoreError(msg)
        if not stat.S_ISDIR(status.st_mode):
            problem = "is not a directory"
        elif os.name == "posix":
            if status.st_uid != os.geteuid():
                problem = "belongs to another user"
            elif status.st_mode & _OTHERS_MAY_WRITE:
                problem = f"can be written to by others (mode {stat.S_IMODE(status.st_mode):04o})"
        if problem:
            msg = f"{self.path} {problem}: name a new directory inside one of yours"
            raise TokenStoreError(msg)

    def _read(self, descriptor: int, name: str) -> OpaqueBytes:
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._not_a_file(name)
            # For a directory `os.fdopen` would raise, and leave the descriptor open.
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return OpaqueBytes(file.read(_LARGEST))
        finally:
            os.close(descriptor)

    def _write(self, path: Path, data: OpaqueBytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            if os.name == "posix":
                # The umask may have taken away more than others' rights.
                os.fchmod(file.fileno(), 0o600)
            file.write(data.content)
            file.flush()
            os.fsync(file.fileno())

    def _sync(self) -> None:
        """Make renames survive a crash of the machine."""
        if os.name != "posix":
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _not_a_file(self, name: str) -> TokenStoreError:
        return TokenStoreError(
            f"{self.path / name} is a link or not a regular file, so it is left alone: remove it"
        )


def _make_directory(path: Path, mode: int) -> None:
    """Make the directory, unless another process is faster; it has its name only once it can be used."""
    new = path.with_name(f".{secrets.token_hex(8)}")
    new.mkdir(mode)
    try:
        # The umask may have taken away the user's own rights.
        new.chmod(stat.S_IMODE(new.stat().st_mode) | 0o700)
        new.rename(path)
    except OSError:
        new.rmdir()
        if not path.is_dir():
            raise


def _aside(name: str) -> str:
    return f"{name}.damaged"
