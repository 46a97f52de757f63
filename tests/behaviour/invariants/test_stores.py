"""Invariants 24 to 26: what clients of one store share; `tests/stores` looks further."""

from __future__ import annotations

import json
import os
import stat

from typing import TYPE_CHECKING

import pytest

from taxizer_async import MemoryTokenStore, Secret, TaxizerAuth, Token
from taxizer_async.stores import StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore


if TYPE_CHECKING:
    from pathlib import Path

    from taxizer_async.testing import ManualClock, Sandbox


def record_of(name: str) -> TokenRecord:
    return TokenRecord(
        token=Token(jwt=Secret(f"jwt-{name}")),
        version=name,
        lifetime=900.0,
        refresh_lifetime=None,
        age=0.0,
        refresh_spent=False,
    )


async def test_invariant_24_who_waits_for_the_lease_takes_what_its_holder_saved(
    sandbox: Sandbox, clock: ManualClock
) -> None:
    """While somebody else has the lease the store is looked at, and their token is enough."""
    store = MemoryTokenStore(clock=clock)
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, store=store)
    key = StoreKey(auth.base_url, sandbox.client_id)
    lease = await store.lease(key)
    assert lease is not None
    assert await store.save(key, record_of("theirs"), lease)

    assert (await auth.token()).jwt == Secret("jwt-theirs")
    assert sandbox.counters.exchanges == 0


async def test_invariant_25_a_save_needs_the_lease(sandbox: Sandbox, clock: ManualClock) -> None:
    """What comes after the lease has ended is not kept."""
    store = MemoryTokenStore(clock=clock)
    key = StoreKey(sandbox.base_url, sandbox.client_id)
    lease = await store.lease(key)
    assert lease is not None
    await lease.release()

    assert not await store.save(key, record_of("late"), lease)
    assert await store.load(key) is None


async def test_invariant_25_a_record_belongs_to_one_client_id(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A record that was put in another's place is not taken: the pair logs in."""
    store = FileTokenStore(tmp_path)
    key = StoreKey(sandbox.base_url, sandbox.client_id)
    lease = await store.lease(key)
    assert lease is not None
    assert await store.save(key, record_of("theirs"), lease)
    await lease.release()
    (file,) = tmp_path.glob("*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"client_id": "another"}))
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)

    assert (await auth.token()).jwt != Secret("jwt-theirs")
    assert sandbox.counters.connects == 1


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_invariant_26_files_are_their_users_alone(
    sandbox: Sandbox, tmp_path: Path, umask: int
) -> None:
    """Whatever the umask is: 0700 for the directory, 0600 for all that is in it."""
    folder = tmp_path / "tokens"
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=FileTokenStore(folder))
    before = os.umask(umask)
    try:
        await auth.token()
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
