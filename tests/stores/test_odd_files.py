"""Files and directories that are not as a store left them, and a file system that refuses."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat

from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from taxizer_async import TokenStoreError
from taxizer_async.stores.file import FileTokenStore
from tests.stores.conftest import JWT, KEY, lowest_free_descriptor, make_record


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b" / "tokens"


async def put(store: FileTokenStore, jwt: str = JWT) -> bool:
    lease = await store.lease(KEY)
    assert lease is not None
    try:
        return await store.save(KEY, make_record(jwt), lease)
    finally:
        await lease.release()


async def jwt_in(store: FileTokenStore) -> str | None:
    record = await store.load(KEY)
    return None if record is None else record.token.jwt.reveal()


def record_file(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o177])
async def test_parents_that_are_made_are_the_users(
    store: FileTokenStore, folder: Path, umask: int
) -> None:
    """New parent directories are the user's, and not writable by others, who could replace the directory."""
    before = os.umask(umask)
    try:
        await put(store)
    finally:
        os.umask(before)

    for parent in (folder.parent, folder.parent.parent):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700 | 0o755 & ~umask


async def test_parents_that_are_there_stay_as_they_are(store: FileTokenStore, folder: Path) -> None:
    """The mode of a parent directory that the user made is not changed."""
    folder.parent.mkdir(parents=True)
    folder.parent.chmod(0o770)
    await put(store)

    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o770
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_directory_that_is_gone_is_made_anew(store: FileTokenStore, folder: Path) -> None:
    """If the directory is gone there is no record and nothing to clear, and the next login is saved."""
    await put(store)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert await store.load(KEY) is None
    await store.clear(KEY)
    assert not folder.exists()

    assert await put(store)
    assert await jwt_in(store) == JWT


@pytest.mark.parametrize("mode", [0o700, 0o770])
async def test_a_directory_that_another_process_makes_meanwhile(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """It is used if it is private, and refused if others can write to it; nothing is left beside it."""
    rename = Path.rename

    def come_late(path: Path, target: Path) -> Path:
        if target == folder:
            folder.mkdir()
            folder.chmod(mode)
            # An empty one could be replaced.
            (folder / "theirs").touch()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", come_late)
    if mode == 0o700:
        assert await put(store)
    else:
        with pytest.raises(TokenStoreError, match="can be written to by others"):
            await store.lease(KEY)

    assert list(folder.parent.iterdir()) == [folder]


async def test_a_lease_that_can_not_begin_is_given_back(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file system refuses the first beat, its error is raised, and the lock is free for the next attempt."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    # A lock must be released, not left to the garbage collector.
    monkeypatch.setattr(filelock.BaseFileLock, "__del__", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            await store.lease(KEY)

    assert await put(store)


async def test_a_lock_that_goes_during_a_save_takes_the_save_with_it(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is checked again just before the new record replaces the old one."""
    await put(store)
    lease = await store.lease(KEY)
    assert lease is not None
    sync = os.fsync

    def sync_and_remove(descriptor: int) -> None:
        sync(descriptor)
        for lock in folder.glob("*.lock"):
            lock.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync_and_remove)
        assert await store.save(KEY, make_record("another"), lease) is False

    assert [file.suffix for file in folder.iterdir()] == [".json"]
    assert await jwt_in(store) == JWT
    await lease.release()


async def test_a_directory_that_goes_during_a_lease_takes_the_lease_with_it(
    store: FileTokenStore, folder: Path
) -> None:
    """The lock that others see is another one by then."""
    lease = await store.lease(KEY)
    assert lease is not None
    folder.rename(folder.with_name("moved"))

    assert await lease.extend() is False
    assert await store.save(KEY, make_record(), lease) is False
    assert not list(folder.glob("*.json"))
    await lease.release()


def _put_a_directory(path: Path) -> None:
    path.mkdir()


def _put_a_socket(path: Path) -> None:
    # The path of a socket is short.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _put_a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


ODD: dict[str, Callable[[Path], None]] = {
    "a directory": _put_a_directory,
    "a socket": _put_a_socket,
    "a link to nothing": _put_a_link_to_nothing,
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_no_file_is_left_alone(
    store: FileTokenStore, folder: Path, kind: str
) -> None:
    """A directory or socket in place of a record is reported by path at each use; nothing is left open."""
    await put(store)
    file = record_file(folder)
    file.unlink()
    ODD[kind](file)
    before = os.lstat(file)
    for _ in range(3):
        for call in (store.load(KEY), put(store)):
            free = lowest_free_descriptor()
            with pytest.raises(TokenStoreError) as caught:
                await call
            assert str(caught.value) == (
                f"{file} is a link or not a regular file, so it is left alone: remove it"
            )
            assert lowest_free_descriptor() == free

    assert os.lstat(file).st_ino == before.st_ino


async def test_a_full_disk_leaves_the_old_record(store: FileTokenStore, folder: Path) -> None:
    """If the kernel stops a write half-way, the old record stays, without a part of the new one."""
    await put(store)
    before = record_file(folder).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            await put(store, "j" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert record_file(folder).read_bytes() == before
    assert not list(folder.glob("*.part"))
    assert await put(store, "j" * 20_000)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EIO])
async def test_a_file_system_that_says_no_is_quoted(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A directory that can't be written can be read, and the lease is free for the next attempt."""
    await put(store)
    real = os.open

    def refuse(path: Any, flags: int, *mode: Any, **more: Any) -> int:
        if flags & os.O_CREAT and str(path).endswith(".part"):
            raise OSError(number, os.strerror(number))
        return real(path, flags, *mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            await put(store, "another")
        assert await jwt_in(store) == JWT

    assert await put(store, "another")
    assert await jwt_in(store) == "another"


async def test_a_failed_rename_leaves_the_old_record(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replacement that fails leaves no new file with secrets beside the old one."""
    await put(store)

    def refuse(*_: object) -> Path:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            await put(store, "another")

    assert sorted(file.suffix for file in folder.iterdir()) == [".json", ".lock"]
    assert await jwt_in(store) == JWT


async def test_a_good_record_is_never_set_aside(store: FileTokenStore, folder: Path) -> None:
    """Only damaged files are set aside, and only the last one is kept."""
    for number in range(3):
        await put(store, f"jwt-{number}")
    assert not list(folder.glob("*.damaged"))
    for junk in (b"first", b"second"):
        record_file(folder).write_bytes(junk)
        await put(store)

    (aside,) = folder.glob("*.damaged")
    assert aside.read_bytes() == b"second"


async def test_a_clear_removes_what_a_killed_holder_left(
    store: FileTokenStore, folder: Path
) -> None:
    """`clear` removes a partial file, which has secrets, too, unless the lease is held: then it is the holder's."""
    await put(store)
    part = record_file(folder).with_name(f"{record_file(folder).name}.1.part")
    lease = await store.lease(KEY)
    assert lease is not None
    part.write_text(JWT)
    await FileTokenStore(folder).clear(KEY)
    assert part.exists()
    await lease.release()
    await FileTokenStore(folder).clear(KEY)

    assert [file.suffix for file in folder.iterdir()] == [".lock"]
    assert await put(store)
