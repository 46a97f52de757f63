"""The check of a store at start-up: each of its calls is made once, for a key that belongs to nobody."""

from __future__ import annotations

from taxizer_async._core.errors import TokenStoreError
from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores._protocol import StoreKey, TokenRecord, TokenStore


async def probe(store: TokenStore, name: str) -> None:
    """
    Take a lease, save, load and clear a record; nothing of it stays in *store*.

    Args:
        store: What is checked.
        name: The client_id of the key. If another process holds its lease, nothing more is tried.

    Raises:
        TokenStoreError: If the store does not keep what it was given.
        Exception: What the store raises.
    """
    key = StoreKey("check", name)
    record = TokenRecord(
        token=Token(jwt=Secret("check")),
        version="check",
        lifetime=60.0,
        refresh_lifetime=None,
        age=0.0,
        refresh_spent=False,
    )
    lease = await store.lease(key)
    if lease is None:
        return
    try:
        await lease.extend()
        saved = await store.save(key, record, lease)
        loaded = await store.load(key)
    finally:
        await store.clear(key)
        await lease.release()
    if not saved or loaded is None or loaded.version != record.version:
        msg = "it does not keep what is written to it"
        raise TokenStoreError(msg)
