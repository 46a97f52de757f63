"""
The tools of the checks: stores, keys, records and requirements.

No check uses `assert`, which an optimised program leaves out.
"""

from __future__ import annotations

import inspect
import os
import pickle

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import anyio
import attrs

from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore


StoreFactory: TypeAlias = Callable[[], TokenStore | Awaitable[TokenStore]]

#: Seconds that a case may take.
LIMIT: Final = 30.0
#: Seconds that a record may age between a save and a load.
ON_THE_WAY: Final = 5.0
#: Seconds by which a store may round.
ROUNDING: Final = 0.01


class NotTriedError(Exception):
    """The factory does not allow what the case wants to try."""


class StoreHarness:
    """Gives a case its stores, and keys that no other case uses."""

    def __init__(self, factory: StoreFactory) -> None:
        self._factory = factory
        self._name = f"conformance-{os.urandom(8).hex()}"

    async def store(self) -> TokenStore:
        return await make_store(self._factory)

    def pickled_factory(self) -> bytes:
        """
        Return the factory, for another process.

        Raises:
            NotTriedError: If it can't be pickled.
        """
        try:
            return pickle.dumps(self._factory)
        except Exception as cause:  # pickle raises whatever its parts raise
            raise NotTriedError from cause

    async def two(self) -> tuple[TokenStore, TokenStore]:
        return await self.store(), await self.store()

    def key(self, suffix: str = "", base_url: str = "https://api.test") -> StoreKey:
        return StoreKey(base_url, self._name + suffix)


Check: TypeAlias = Callable[[StoreHarness], Awaitable[None]]


class Cases(list[Check]):
    """
    Checks in order.

    The first line of a check's docstring is the rule, the rest is advice for authors of stores that break it.
    """

    def add(self, check: Check) -> Check:
        """Append *check*; a decorator."""
        self.append(check)
        return check


def make_record(version: str = "v-1", *, age: float = 0.0, **token: Any) -> TokenRecord:
    fields: dict[str, Any] = {
        "jwt": Secret(f"jwt-of-{version}"),
        "refresh_token": Secret(f"refresh-of-{version}"),
        "expires_at": datetime(2030, 1, 2, 3, 4, 5, 678901, UTC),
        "refresh_expires_at": datetime(2030, 2, 3, 4, 5, 6, tzinfo=UTC),
        "app_id": "app",
        "app_name": "متجر \U0001f9fe",
        "account_id": "12",
        "account_name": "Müller & Söhne",
        "username": "till-1",
    } | token
    return TokenRecord(
        token=Token(**fields),
        version=version,
        lifetime=900.0,
        refresh_lifetime=86_400.0,
        age=age,
        refresh_spent=False,
    )


async def make_store(factory: StoreFactory) -> TokenStore:
    store = factory()
    return await store if inspect.isawaitable(store) else store


def require(condition: object, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


async def leased(store: TokenStore, key: StoreKey) -> Lease:
    """Return the lease, which must be free."""
    lease = await store.lease(key)
    if lease is None:
        msg = "a free lease could not be had"
        raise AssertionError(msg)
    return lease


async def leased_in_turn(store: TokenStore, key: StoreKey) -> Lease:
    """Return the lease once it is free; an abandoned one has to end by itself."""
    end = anyio.current_time() + LIMIT / 2
    while (lease := await store.lease(key)) is None:
        require(anyio.current_time() < end, "no holder is left, yet it is not free")
        await anyio.sleep(0.01)
    return lease


async def save(store: TokenStore, key: StoreKey, record: TokenRecord, lease: Lease) -> None:
    """Save *record* under *lease*, which must be held."""
    require(await store.save(key, record, lease), "a save with the lease in hand was refused")


async def put(store: TokenStore, key: StoreKey, record: TokenRecord) -> None:
    lease = await leased(store, key)
    try:
        await save(store, key, record, lease)
    finally:
        await lease.release()


async def get(store: TokenStore, key: StoreKey) -> TokenRecord:
    record = await store.load(key)
    if record is None:
        msg = "what was saved is not there"
        raise AssertionError(msg)
    return record


def require_same(loaded: TokenRecord, saved: TokenRecord) -> None:
    """Raise an AssertionError unless both are the same, except for a little age."""
    require(attrs.evolve(loaded, age=saved.age) == saved, "what was loaded is not what was saved")
    require(
        -ROUNDING <= loaded.age - saved.age < ON_THE_WAY,
        f"saved at an age of {saved.age:g} s, it was loaded at one of {loaded.age:g} s",
    )
