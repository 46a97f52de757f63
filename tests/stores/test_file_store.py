"""Files: their permissions, damaged files, and locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
import traceback

from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import attrs
import filelock
import pytest

from taxizer_async import ConfigurationError, TokenStoreError
from taxizer_async.stores import StoreKey, TokenRecord, _file_lease, _private_directory
from taxizer_async.stores.file import FileTokenStore
from tests.stores.conftest import JWT, KEY, make_record
from tests.support import families
from tests.support.families import PATIENCE
from tests.support.limits import HANG


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "tokens"


async def put(store: FileTokenStore, record: TokenRecord, key: StoreKey = KEY) -> bool:
    lease = await store.lease(key)
    assert lease is not None
    try:
        return await store.save(key, record, lease)
    finally:
        await lease.release()


def record_file(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


@pytest.mark.invariant(26)
@pytest.mark.report(157)
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177, 0o777])
async def test_only_the_user_can_read_it(store: FileTokenStore, folder: Path, umask: int) -> None:
    """For any umask, files have mode 0600, and the new directory 0700."""
    before = os.umask(umask)
    try:
        assert await put(store, make_record())
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


async def test_it_says_whose_and_which_format_it_is(store: FileTokenStore, folder: Path) -> None:
    """The file has a format field, and its name reveals no client_id."""
    await put(store, make_record())
    content = json.loads(record_file(folder).read_text())

    assert content["format"] == 1
    assert (content["base_url"], content["client_id"]) == (KEY.base_url, KEY.client_id)
    assert KEY.client_id not in record_file(folder).name


async def test_the_age_is_the_machines(store: FileTokenStore, folder: Path) -> None:
    """A record is as much older as the machine is since it was written."""
    await put(store, make_record())
    content = json.loads(record_file(folder).read_text())
    content["written"]["uptime"] -= 600
    record_file(folder).write_text(json.dumps(content))
    record = await store.load(KEY)

    assert record is not None
    assert 600 <= record.age < 600 + HANG


def _make_writable(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def _make_a_file(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")


def _make_a_link(folder: Path) -> None:
    target = folder.parent.parent / "elsewhere"
    target.mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(target)


def _give_away(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, 12_345, 12_345)


UNSAFE: dict[str, Callable[[Path], None]] = {
    "writable": _make_writable,
    "a file": _make_a_file,
    "a link": _make_a_link,
}
if os.geteuid() == 0:
    UNSAFE["another user's"] = _give_away


@pytest.mark.invariant(26)
@pytest.mark.parametrize("kind", UNSAFE)
async def test_an_unsafe_directory_is_refused(
    store: FileTokenStore, folder: Path, kind: str
) -> None:
    """A directory that others can change, or a link, is not used, and the error says what to do."""
    UNSAFE[kind](folder)
    for call in (store.load(KEY), store.lease(KEY), store.clear(KEY)):
        with pytest.raises(
            TokenStoreError, match=r"name a new directory inside one of yours|is a link"
        ):
            await call


@pytest.mark.report(158)
async def test_a_link_is_told_as_a_link(store: FileTokenStore, folder: Path) -> None:
    """A directory that is a link is refused in words that say so."""
    _make_a_link(folder)
    with pytest.raises(TokenStoreError) as caught:
        await store.load(KEY)

    told = f"{folder} is a link, and links are not followed: name the directory itself"
    assert str(caught.value) == told


async def test_a_parent_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    """Errors of the file system are raised as they are."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        await FileTokenStore(tmp_path / "file" / "tokens").lease(KEY)


@pytest.mark.invariant(26)
@pytest.mark.parametrize("make", [os.symlink, lambda _, path: os.mkfifo(path)])
async def test_no_link_and_no_pipe_is_followed(
    store: FileTokenStore, folder: Path, make: Callable[[Path, Path], None]
) -> None:
    """A link or a pipe in place of a record is refused at once, and left as it is."""
    await put(store, make_record())
    record = record_file(folder)
    elsewhere = folder.parent / "elsewhere"
    record.rename(elsewhere)
    make(elsewhere, record)
    try:
        with anyio.fail_after(PATIENCE):
            with pytest.raises(TokenStoreError, match="not a regular file"):
                await store.load(KEY)
            with pytest.raises(TokenStoreError, match="not a regular file"):
                await put(store, make_record("another"))
    finally:
        # Releases a reader that waits for the pipe.
        with contextlib.suppress(OSError):
            os.close(os.open(record, os.O_WRONLY | os.O_NONBLOCK))

    assert not stat.S_ISREG(record.lstat().st_mode)
    assert JWT in elsewhere.read_text()


async def test_a_linked_lock_is_refused(store: FileTokenStore, folder: Path) -> None:
    """A link in place of the lock is not followed either."""
    await put(store, make_record())
    (lock,) = folder.glob("*.lock")
    lock.unlink()
    lock.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        await store.lease(KEY)


@pytest.mark.invariant(26)
async def test_it_is_on_the_disk_before_it_counts(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole file is synced before it replaces the old one, and the directory after that."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        kind = "directory" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_size}"
        done.append(f"sync the {kind}")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> Path:
        done.append("replace")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    await put(store, make_record())

    size = record_file(folder).stat().st_size
    assert done == [f"sync the file of {size}", "replace", "sync the directory"]


async def test_a_save_that_fails_leaves_the_old_one(
    store: FileTokenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the old record stays, and no partial file is left."""
    await put(store, make_record())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            await put(store, make_record("another"))

    record = await store.load(KEY)
    assert record is not None
    assert record.token.jwt.reveal() == JWT
    assert not list(folder.glob("*.part"))


async def test_what_a_killed_holder_left_is_replaced(store: FileTokenStore, folder: Path) -> None:
    """A partial file from before disturbs nothing, and is removed."""
    await put(store, make_record())
    part = record_file(folder).with_name(f"{record_file(folder).name}.part")
    part.write_text("half of a")

    assert await put(store, make_record("another"))
    assert not part.exists()


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "junk": lambda _: os.urandom(100),
    "half": lambda text: text[: len(text) // 2],
    "no JWT": lambda text: text.replace(b'"jwtToken"', b'"jwt"'),
    "another format": lambda text: text.replace(b'"format": 1', b'"format": 2'),
    "another app's": lambda text: text.replace(b"client-1", b"client-2"),
    "no age": lambda text: text.replace(b'"uptime"', b'"downtime"'),
    "no refresh lifetime": lambda text: text.replace(b'"refresh_lifetime"', b'"another"'),
    "infinite": lambda text: text.replace(b'"lifetime": 900.0', b'"lifetime": Infinity'),
    "a list": lambda text: b"[" + text + b"]",
    "encrypted": lambda _: b"gAAAAAB",
    "endless": lambda text: text + b" " * (2 << 20),
}


@pytest.mark.report(79)
@pytest.mark.parametrize("kind", DAMAGED)
async def test_a_damaged_file_is_set_aside(store: FileTokenStore, folder: Path, kind: str) -> None:
    """A damaged file is reported, kept for inspection, and replaced."""
    await put(store, make_record())
    file = record_file(folder)
    damaged = DAMAGED[kind](file.read_bytes())
    file.write_bytes(damaged)
    if kind != "endless":
        with pytest.raises(TokenStoreError, match="replaced at the next login"):
            await store.load(KEY)

    assert await put(store, make_record("another"))
    record = await store.load(KEY)
    assert record is not None
    assert record.token.jwt.reveal() == "another"
    if kind != "endless":  # the first 1 MiB of it is whole
        assert file.with_name(f"{file.name}.damaged").read_bytes() == damaged
    await store.clear(KEY)
    assert [each.suffix for each in folder.iterdir()] == [".lock"]


async def test_no_cut_is_taken_for_a_record(store: FileTokenStore, folder: Path) -> None:
    """A file that is truncated anywhere is damaged, and never half read."""
    await put(store, make_record())
    file = record_file(folder)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(TokenStoreError, match="damaged"):
            await store.load(KEY)


async def test_a_lock_whose_file_was_removed_is_lost(store: FileTokenStore, folder: Path) -> None:
    """If the lock file was removed, another may hold a new one, so the old holder saves nothing."""
    lease = await store.lease(KEY)
    assert lease is not None
    (lock,) = folder.glob("*.lock")
    lock.unlink()
    other = await FileTokenStore(folder).lease(KEY)

    assert other is not None
    assert await store.save(KEY, make_record(), lease) is False
    assert await lease.extend() is False
    await lease.release()
    assert await other.extend() is True
    await other.release()


@pytest.mark.report(85)
async def test_without_locks_of_the_kernel_there_is_no_lease(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without locks, taking the lease is an error that is reported."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        await store.lease(KEY)


async def test_two_apps_have_two_files(store: FileTokenStore, folder: Path) -> None:
    """Each pair of base_url and client_id has its own file."""
    await put(store, make_record())
    await put(store, make_record(), attrs.evolve(KEY, client_id="client-2"))
    await put(store, make_record(), attrs.evolve(KEY, base_url="https://other.test"))

    assert len(list(folder.glob("*.json"))) == 3


class Stuck:
    """A file system that does not answer until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self._answer = threading.Event()
        check = _private_directory.PrivateDirectory._check

        def wait(directory: _private_directory.PrivateDirectory) -> None:
            self.entered.release()
            assert self._answer.wait(PATIENCE)
            check(directory)

        monkeypatch.setattr(_private_directory.PrivateDirectory, "_check", wait)

    def answer(self) -> None:
        self._answer.set()


@pytest.mark.report(30)
async def test_a_stuck_file_system_stops_no_event_loop(
    store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abandoned calls go on in at most 32 threads, and leave no lock."""
    stuck = Stuck(monkeypatch)
    # A lock must be released, not left to the garbage collector or to be taken over.
    monkeypatch.setattr(filelock.BaseFileLock, "__del__", lambda _: None)
    monkeypatch.setattr(_file_lease.BeatWatch, "silence", lambda *_: 0.0)
    try:
        for _ in range(32):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.lease, KEY)
                await anyio.to_thread.run_sync(stuck.entered.acquire)
                tasks.cancel_scope.cancel()
        with pytest.raises(TimeoutError, match="32 earlier calls"):
            await store.lease(KEY)
    finally:
        stuck.answer()
    with anyio.fail_after(HANG):
        lease = None
        while lease is None:
            try:
                lease = await store.lease(KEY)
            except TimeoutError:
                await anyio.sleep(0.01)
    await lease.release()


@pytest.mark.parametrize("path", ["", "a\0b", 7, None, b"tokens"])
def test_a_wrong_path_is_told(path: object) -> None:
    """A wrong argument is named in the error."""
    with pytest.raises(ConfigurationError, match=r"^path must name") as caught:
        FileTokenStore(path)  # type: ignore[arg-type]
    # A debugger may ask a half-built object for its repr.
    traceback.TracebackException.from_exception(caught.value, capture_locals=True)


def test_it_shows_its_path_and_is_not_pickled(store: FileTokenStore, folder: Path) -> None:
    """The repr shows the directory; pickling is refused, as it would expose the key."""
    assert repr(store) == f"FileTokenStore({str(folder)!r})"
    with pytest.raises(TypeError, match="make one with the same path in each process"):
        store.__reduce__()


PROGRAM = """
import anyio, os, signal, sys
from taxizer_async.stores import StoreKey
from taxizer_async.stores.file import FileTokenStore

store = FileTokenStore(sys.argv[1])
key = StoreKey(sys.argv[2], sys.argv[3])

async def main():
    lease = await store.lease(key)
    child = os.fork()
    if child == 0:
        # It neither has the lease nor gives it back.
        anyio.run(in_child, lease)
        print(os.getpid(), flush=True)
        signal.pause()
    sys.stdin.read()

async def in_child(lease):
    assert await lease.extend() is False
    await lease.release()
    assert await store.lease(key) is None

def run():
    return anyio.run(main)

run()
"""


@pytest.mark.report(84)
def test_a_lock_ends_with_its_holder_and_not_with_its_children(
    store: FileTokenStore, folder: Path
) -> None:
    """A forked child neither keeps its parent's lock nor releases it."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _with_thread(PROGRAM)]
    with families.running(
        [*command, str(folder), KEY.base_url, KEY.client_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert anyio.run(store.lease, KEY) is None
        parent.kill()
        parent.wait(PATIENCE)
        os.kill(child, 0)
        # The kernel releases the lock before it reports the end of the process.
        lease = anyio.run(store.lease, KEY)
        assert lease is not None
        anyio.run(lease.release)


def _with_thread(program: str) -> str:
    # A second event loop can't be run in a task's thread, and a fork copies one thread only.
    return program.replace(
        "anyio.run(in_child, lease)",
        "import threading; t = threading.Thread(target=anyio.run, args=(in_child, lease)); "
        "t.start(); t.join()",
    )
