"""The check of a store at the start of a program, and what adapters make of it."""

from __future__ import annotations

import errno
import os

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from taxizer_async import TaxizerAuth, TokenStoreError
from taxizer_async._auth import lifespan
from taxizer_async._auth.lifespan import check_store
from taxizer_async.stores import (
    CheckableStore,
    Lease,
    MemoryTokenStore,
    StoreKey,
    TokenRecord,
    TokenStore,
)
from taxizer_async.stores._check import probe
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Sandbox
from tests.stores.broken import Plain, Shared
from tests.stores.conftest import make_record
from tests.support.limits import HANG


CANARY = "c4n4ry-5ecret"


async def test_memory_can_always_be_used() -> None:
    """A store in memory has a check, which says nothing."""
    store = MemoryTokenStore()
    assert isinstance(store, CheckableStore)

    await store.check()


async def test_a_directory_that_can_be_used(tmp_path: Path) -> None:
    """The check makes the directory, says nothing, and leaves no record in it."""
    store = FileTokenStore(tmp_path / "tokens")
    assert isinstance(store, CheckableStore)
    for _ in range(2):
        await store.check()

    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".lock"]


async def test_a_directory_that_others_can_write_to(tmp_path: Path) -> None:
    """The check refuses it, as every call does."""
    tmp_path.chmod(0o777)
    with pytest.raises(TokenStoreError, match="can be written to by others"):
        await FileTokenStore(tmp_path).check()


async def test_a_file_system_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check says what the system said, and hides nothing behind an OSError."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, CANARY)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(TokenStoreError) as caught:
        await FileTokenStore(tmp_path / "tokens").check()

    assert str(caught.value) == f"'{tmp_path}/tokens' can't be used: {os.strerror(errno.EROFS)}"
    assert caught.value.__context__ is None


class Checked(Plain):
    """A store of somebody's, with a check that does as it is told."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        super().__init__(Shared())
        self._check = check

    async def check(self) -> None:
        await self._check()


async def _refuse() -> None:
    raise TokenStoreError("Redis can't be used (OOM): its memory is full")


async def _break() -> None:
    raise ValueError(CANARY)


async def _pass() -> None:
    pass


class Unkept(Plain):
    """Says that it has saved, and has not."""

    def write(self, key: StoreKey, record: TokenRecord) -> None:
        pass


class Unsaved(Plain):
    """Says that it has not saved, and has."""

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return not await super().save(key, record, lease)


class Another(Plain):
    """Has another record than the one that was saved."""

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await super().load(key) and make_record()


@pytest.mark.parametrize("kind", [Unkept, Unsaved, Another])
async def test_a_store_that_keeps_nothing_can_not_be_used(kind: type[Plain]) -> None:
    """A check looks for what it has saved, and leaves neither a record nor a lease behind."""
    shared = Shared()
    with pytest.raises(TokenStoreError, match="does not keep what is written to it"):
        await probe(kind(shared), "check")

    assert not shared.records
    assert not shared.holders


CHECKS: dict[str, tuple[TokenStore | None, str | None]] = {
    "no store": (None, None),
    "a store without a check": (Plain(Shared()), None),
    "a store that can be used": (Checked(_pass), None),
    "a store that says why not": (Checked(_refuse), "(OOM): its memory is full"),
    "a check that is broken": (Checked(_break), "its check failed (ValueError)"),
    "a check that hangs": (Checked(anyio.sleep_forever), "its check took more than 0.1 s"),
}


@pytest.mark.parametrize("kind", CHECKS)
async def test_adapters_log_what_is_wrong(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What a check says is logged once, and never raised: requests need no store."""
    monkeypatch.setattr(lifespan, "_TIMEOUT", 0.1)
    store, problem = CHECKS[kind]
    auth: Any = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
    with anyio.fail_after(HANG):
        await check_store(auth)

    told = [record.getMessage() for record in caplog.records]
    before = "the token store can't be used, so this process shares no token until it can: "
    assert [text.partition(": ")[0] + ": " for text in told] == [before] * (problem is not None)
    assert problem is None or told[0].endswith(problem)
    assert CANARY not in caplog.text
