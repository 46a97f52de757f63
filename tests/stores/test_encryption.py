"""Encryption at rest: nothing is readable without the key, and a wrong key is not a crash."""

from __future__ import annotations

import base64
import functools
import importlib
import sys
import traceback

from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from taxizer_async import (
    ConfigurationError,
    Event,
    Secret,
    TaxizerAuth,
    TokenAwaited,
    TokenStoreError,
)
from taxizer_async.stores import RecordCodec, TokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.stores.conftest import JWT, KEY, REFRESH, make_record
from tests.support.families import PATIENCE
from tests.support.redis_server import RedisServer
from tests.support.refreshes import settle


# Not random, as parametrised tests are collected by several processes.
OLD, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))


async def put(store: TokenStore) -> None:
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save(KEY, make_record(), lease)
    await lease.release()


def secrets(sandbox: Sandbox) -> list[bytes]:
    every = [*sandbox.issued_jwts, *sandbox.issued_refresh_tokens]
    return [each.encode() for each in (*every, "sandbox-secret")]


async def use(sandbox: Sandbox, store: TokenStore) -> None:
    """Log in, renew, and log in again, so that each is saved, spent marks included."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
    await auth.token()
    sandbox.lifetime = 0.5
    await auth.forget()
    await auth.token()
    sandbox.wait_until(lambda counters: counters.connects == 2)
    with anyio.fail_after(PATIENCE):
        while sandbox.counters.refreshes == 0:
            await auth.token()
            await anyio.sleep(0.01)
    # Calls under way would reopen the store's connection.
    await settle(auth._bearer.provider)


@pytest.mark.parametrize("key", [None, NEW])
async def test_no_secret_is_in_the_files(sandbox: Sandbox, tmp_path: Path, key: str | None) -> None:
    """With a key no secret is in the directory; without one the same search finds it."""
    await use(sandbox, FileTokenStore(tmp_path / "tokens", encryption_key=key))
    everything = b"".join(file.read_bytes() for file in (tmp_path / "tokens").iterdir())

    found = [secret for secret in secrets(sandbox) if secret in everything]
    assert bool(found) == (key is None)
    assert b"sandbox-secret" not in everything


@pytest.mark.parametrize("key", [None, NEW])
def test_no_secret_is_in_redis(sandbox: Sandbox, tmp_path: Path, key: str | None) -> None:
    """The same holds for what Redis writes to disk, and for the memory of its process."""

    async def run(url: str) -> None:
        async with RedisTokenStore.from_url(url, encryption_key=key) as store:
            await use(sandbox, store)

    with RedisServer(tmp_path, options=["--rdbcompression", "no"]) as server:
        anyio.run(run, server.url)
        assert server.ask("SAVE") == b"+OK\r\n"
        memory = server.memory()
    disk = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())

    for everything in (disk, memory):
        found = [secret for secret in secrets(sandbox) if secret in everything]
        assert bool(found) == (key is None)
    assert b"sandbox-secret" not in memory + disk


async def test_keys_can_be_rotated(tmp_path: Path) -> None:
    """The first key encrypts, any of them decrypts."""
    old = FileTokenStore(tmp_path / "tokens", encryption_key=OLD)
    both = FileTokenStore(tmp_path / "tokens", encryption_key=[NEW.encode(), Secret(OLD)])
    new = FileTokenStore(tmp_path / "tokens", encryption_key=Secret(NEW))
    await put(old)
    assert await both.load(KEY) is not None
    with pytest.raises(TokenStoreError, match="not encrypted with a key of this process"):
        await new.load(KEY)

    await put(both)
    assert await new.load(KEY) is not None
    with pytest.raises(TokenStoreError, match="give all that share the store the same"):
        await old.load(KEY)


@pytest.mark.parametrize(
    ("before", "after"), [(OLD, NEW), (None, NEW), (OLD, None)], ids=["other", "new", "no"]
)
async def test_a_wrong_key_is_a_log_line_and_a_login(
    sandbox: Sandbox, tmp_path: Path, before: str | None, after: str | None
) -> None:
    """A process that can't read the record logs in, saves its token, and reports the problem once."""
    told: list[Event] = []
    make = functools.partial(TaxizerAuth, sandbox.credentials, base_url=sandbox.base_url)
    first = make(store=FileTokenStore(tmp_path / "tokens", encryption_key=before))
    await first.token()
    store = FileTokenStore(tmp_path / "tokens", encryption_key=after)
    for _ in range(2):
        auth = make(store=store, on_event=told.append)
        await auth.token()
        await auth.events_delivered()
        assert sandbox.counters.connects == 2

    names = [type(event).__name__ for event in told if not isinstance(event, TokenAwaited)]
    assert names == ["StoreFailed", "LoggedIn", "Adopted"]
    assert "encrypt" in str(told[0])


@pytest.mark.parametrize("length", [None, 700], ids=["whole", "half"])
async def test_what_was_in_the_clear_goes_once_there_is_a_key(
    tmp_path: Path, length: int | None
) -> None:
    """A record in plain text is not set aside once there is a key; nor is a partial one."""
    await put(FileTokenStore(tmp_path / "tokens"))
    (file,) = (tmp_path / "tokens").glob("*.json")
    file.write_bytes(file.read_bytes()[:length])
    assert JWT.encode() in file.read_bytes()
    await put(FileTokenStore(tmp_path / "tokens", encryption_key=NEW))

    for each in (tmp_path / "tokens").iterdir():
        assert JWT.encode() not in each.read_bytes()
        assert REFRESH.encode() not in each.read_bytes()
    assert not list((tmp_path / "tokens").glob("*.damaged"))


async def test_what_another_key_encrypted_is_set_aside(tmp_path: Path) -> None:
    """A record that a wrong key can't read is set aside, for the right key."""
    await put(FileTokenStore(tmp_path / "tokens", encryption_key=OLD))
    (file,) = (tmp_path / "tokens").glob("*.json")
    before = file.read_bytes()
    await put(FileTokenStore(tmp_path / "tokens", encryption_key=NEW))

    (aside,) = (tmp_path / "tokens").glob("*.damaged")
    assert aside.read_bytes() == before


async def test_a_wrong_key_is_over_with_the_next_record(sandbox: Sandbox, tmp_path: Path) -> None:
    """One event reports that the record can't be read, and one that the next one can."""
    told: list[Event] = []
    make = functools.partial(TaxizerAuth, sandbox.credentials, base_url=sandbox.base_url)
    await make(store=FileTokenStore(tmp_path / "tokens", encryption_key=OLD)).token()
    store = FileTokenStore(tmp_path / "tokens", encryption_key=NEW)
    auth = make(store=store, on_event=told.append)
    for _ in range(3):
        sandbox.revoke()
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            assert (await client.post("/v1/Invoices", json={})).status_code == httpx.codes.OK
    await auth.events_delivered()

    names = [type(event).__name__ for event in told]
    assert [name for name in names if "Store" in name] == ["StoreFailed", "StoreRecovered"]


@pytest.mark.parametrize(
    "key", ["", "short", JWT, b"\xff" * 44, 7, [], [NEW, "short"], [NEW, None], {}]
)
@pytest.mark.parametrize(
    "make",
    [
        functools.partial(FileTokenStore, "tokens"),
        functools.partial(RedisTokenStore.from_url, "redis://localhost"),
        RecordCodec,
    ],
    ids=["file", "redis", "codec"],
)
def test_a_wrong_key_is_told_and_not_shown(make: Callable[..., object], key: object) -> None:
    """A wrong key is a typed error that says how to make one, and no frame shows the key."""
    with pytest.raises(ConfigurationError, match=r"^encryption_key must be") as caught:
        make(encryption_key=key)

    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    told.stack[:1] = []
    text = "".join(told.format())
    assert NEW not in text
    assert JWT not in text
    assert REFRESH not in text


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [("filelock", "_file_lease", "file"), ("redis", "_redis_clients", "redis")],
)
def test_a_missing_extra_of_a_store_is_named(
    missing: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package that a store needs, importing it says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    for name in (module, extra):
        monkeypatch.delitem(sys.modules, f"taxizer_async.stores.{name}")
    with pytest.raises(ImportError, match=_install(extra)):
        importlib.import_module(f"taxizer_async.stores.{extra}")


def test_a_missing_extra_of_encryption_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cryptography the error of a key says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(ConfigurationError, match=_install("encryption")):
        RecordCodec(NEW)


def _install(extra: str) -> str:
    return rf'pip install "taxizer-async\[{extra}\]"$'
