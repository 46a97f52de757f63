"""
What the rules of a `TokenStore` are tried with: stores, keys, records, and ways to say what is wrong.

There is no assert statement, as these vanish from an optimised program.
"""

from __future__ import annotations

import inspect
import os

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import anyio
import attrs

from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore


StoreFactory: TypeAlias = Callable[[], TokenStore | Awaitable[TokenStore]]

#: Seconds that one case may take.
LIMIT: Final = 30.0
#: Seconds that a record may seem to have aged on the way.
ON_THE_WAY: Final = 5.0
#: Seconds that a store may round by.
ROUNDING: Final = 0.01


class StoreHarness:
    """What the cases work with: stores, and keys that nobody else has."""

    def __init__(self, factory: StoreFactory) -> None:
        self._factory = factory
        self._name = f"conformance-{os.urandom(8).hex()}"

    async def store(self) -> TokenStore:
        """Return one of those that share all."""
        made = self._factory()
        return await made if inspect.isawaitable(made) else made

    async def two(self) -> tuple[TokenStore, TokenStore]:
        """Return two of them."""
        return await self.store(), await self.store()

    def key(self, suffix: str = "", base_url: str = "https://api.test") -> StoreKey:
        """Return a key of this harness's own."""
        return StoreKey(base_url, self._name + suffix)


Check: TypeAlias = Callable[[StoreHarness], Awaitable[None]]


class Cases(list[Check]):
    """
    Rules to try, in order.

    The first line of each docstring is the rule, the rest is advice for who breaks it.
    """

    def add(self, check: Check) -> Check:
        """Append it, as a decorator."""
        self.append(check)
        return check


def make_record(version: str = "v-1", *, age: float = 0.0, **token: Any) -> TokenRecord:
    """Return a record with all there is."""
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


def require(condition: object, problem: str) -> None:
    """Raise about *problem* unless *condition* holds."""
    if not condition:
        raise AssertionError(problem)


async def leased(store: TokenStore, key: StoreKey) -> Lease:
    """Return the lease, which has to be free."""
    lease = await store.lease(key)
    if lease is None:
        msg = "a free lease could not be had"
        raise AssertionError(msg)
    return lease


async def leased_in_turn(store: TokenStore, key: StoreKey) -> Lease:
    """Return the lease once it is free; one that nobody knows of has to end by itself."""
    end = anyio.current_time() + LIMIT / 4
    while (lease := await store.lease(key)) is None:
        require(anyio.current_time() < end, "it is held by nobody")
        await anyio.sleep(0.005)
    return lease


async def put(store: TokenStore, key: StoreKey, record: TokenRecord) -> None:
    """Save, with the lease, which has to be free."""
    lease = await leased(store, key)
    try:
        require(await store.save(key, record, lease), "a save with the lease in hand was refused")
    finally:
        await lease.release()


async def get(store: TokenStore, key: StoreKey) -> TokenRecord:
    """Load what has to be there."""
    record = await store.load(key)
    if record is None:
        msg = "what was saved is not there"
        raise AssertionError(msg)
    return record


def require_same(loaded: TokenRecord, saved: TokenRecord) -> None:
    """Raise unless all but the age is the same, and that is near."""
    require(attrs.evolve(loaded, age=saved.age) == saved, "what was loaded is not what was saved")
    require(
        -ROUNDING <= loaded.age - saved.age < ON_THE_WAY,
        f"saved at an age of {saved.age:g} s, it was loaded at one of {loaded.age:g} s",
    )
