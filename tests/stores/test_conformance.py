"""All stores keep all rules, and a store that breaks one is told so."""

from __future__ import annotations

import contextlib
import itertools

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest
import redis.asyncio

from cryptography.fernet import Fernet

from taxizer_async.stores import MemoryTokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, check_token_store
from tests.redis_server import RedisServer


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore
    from taxizer_async.testing import StoreFactory, TokenStoreCase


cases = pytest.mark.parametrize("case", TOKEN_STORE_CASES, ids=lambda case: case.name)
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

KEYS = [Fernet.generate_key() for _ in range(2)]


@cases
async def test_memory(case: TokenStoreCase) -> None:
    shared = MemoryTokenStore()
    await case.run(lambda: shared)


@cases
async def test_file(case: TokenStoreCase, tmp_path: Path) -> None:
    await case.run(lambda: FileTokenStore(tmp_path / "tokens"))


@cases
async def test_encrypted_file(case: TokenStoreCase, tmp_path: Path) -> None:
    await case.run(lambda: FileTokenStore(tmp_path / "tokens", encryption_key=KEYS))


@contextlib.asynccontextmanager
async def _of_url(url: str) -> AsyncIterator[StoreFactory]:
    async with RedisTokenStore.from_url(url) as one, RedisTokenStore.from_url(url) as other:
        turns = itertools.cycle([one, other])
        yield lambda: next(turns)


@contextlib.asynccontextmanager
async def _of_client(url: str) -> AsyncIterator[StoreFactory]:
    async with redis.asyncio.Redis.from_url(url) as client:
        yield lambda: RedisTokenStore(client)


@contextlib.asynccontextmanager
async def _of_decoding_client(url: str) -> AsyncIterator[StoreFactory]:
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        yield lambda: RedisTokenStore(client)


@contextlib.asynccontextmanager
async def _encrypted(url: str) -> AsyncIterator[StoreFactory]:
    async with RedisTokenStore.from_url(url, encryption_key=KEYS[0]) as store:
        yield lambda: store


KINDS: dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[StoreFactory]]] = {
    "from_url": _of_url,
    "a user's client": _of_client,
    "one that decodes": _of_decoding_client,
    "encrypted": _encrypted,
}


@on_asyncio
@pytest.mark.parametrize("kind", KINDS)
@cases
async def test_redis(case: TokenStoreCase, kind: str, redis_server: RedisServer) -> None:
    async with KINDS[kind](redis_server.url) as factory:
        await case.run(factory)


@on_asyncio
async def test_redis_cluster(tmp_path: Path) -> None:
    """All keys of a script are in one slot, or a cluster would refuse it."""
    with RedisServer(tmp_path, options=["--cluster-enabled", "yes"]) as server:
        for first in range(0, 16_384, 4_096):
            slots = " ".join(map(str, range(first, first + 4_096)))
            assert server.ask(f"CLUSTER ADDSLOTS {slots}") == b"+OK\r\n"
        with anyio.fail_after(10):
            while b"cluster_state:ok" not in server.ask("CLUSTER INFO"):
                await anyio.lowlevel.checkpoint()
        async with redis.asyncio.RedisCluster.from_url(server.url) as client:
            passed = await check_token_store(lambda: RedisTokenStore(client))
    assert len(passed) == len(TOKEN_STORE_CASES)


class Broken:
    """A store in memory that breaks one rule; *shared* is what all of a test have in common."""

    def __init__(self, shared: MemoryTokenStore) -> None:
        self.inner = shared

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await self.inner.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await self.inner.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        return await self.inner.lease(key)


class Freezing(Broken):
    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        record = await self.inner.load(key)
        return record and attrs.evolve(record, age=0.0)


class Forgetful(Broken):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await self.inner.save(key, attrs.evolve(record, refresh_spent=False), lease)


class Coarse(Broken):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        token = record.token
        if token.expires_at is not None:
            token = attrs.evolve(token, expires_at=token.expires_at.replace(microsecond=0))
        return await self.inner.save(key, attrs.evolve(record, token=token), lease)


class OfOneKey(Broken):
    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await self.inner.load(attrs.evolve(key, base_url="any"))

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        one = attrs.evolve(key, base_url="any")
        mine = await self.inner.lease(one)
        assert mine is not None
        try:
            return await lease.extend() and await self.inner.save(one, record, mine)
        finally:
            await mine.release()

    async def clear(self, key: StoreKey, /) -> None:
        await self.inner.clear(attrs.evolve(key, base_url="any"))


class Unclearable(Broken):
    async def clear(self, key: StoreKey, /) -> None:
        pass


class Generous(Broken):
    async def lease(self, key: StoreKey, /) -> Lease | None:
        return await MemoryTokenStore().lease(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        mine = await self.inner.lease(key)
        assert mine is not None
        saved = await lease.extend() and await self.inner.save(key, record, mine)
        await mine.release()
        return saved


class Unfenced(Broken):
    async def save(self, key: StoreKey, record: TokenRecord, _: Lease, /) -> bool:
        shelf = self.inner._own_shelf()
        shelf.records[key] = self.inner._clock.monotonic(), self.inner._clock.wall(), record
        return True


class OfAnyKey(Broken):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        if await lease.extend():
            await Unfenced(self.inner).save(key, record, lease)
            return True
        return False


class _BadLease:
    def __init__(self, store: BadLeases, key: StoreKey, inner: Lease) -> None:
        self._store = store
        self._key = key
        self.inner = inner

    @property
    def heartbeat(self) -> float | None:
        return self._store.heartbeat

    async def extend(self) -> bool:
        return self._store.always_extends or await self.inner.extend()

    async def release(self) -> None:
        await self.inner.release()
        if self._store.frees_all:
            self._store.inner._own_shelf().leases.pop(self._key, None)


class BadLeases(Broken):
    heartbeat: float | None = None
    always_extends = False
    frees_all = False

    async def lease(self, key: StoreKey, /) -> Lease | None:
        inner = await self.inner.lease(key)
        return inner and _BadLease(self, key, inner)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        assert isinstance(lease, _BadLease)
        return await self.inner.save(key, record, lease.inner)


class Heartless(BadLeases):
    heartbeat = 0.0


class Deaf(BadLeases):
    always_extends = True


class Greedy(BadLeases):
    frees_all = True


class LeaseClearing(Broken):
    async def clear(self, key: StoreKey, /) -> None:
        await self.inner.clear(key)
        self.inner._own_shelf().leases.pop(key, None)


class LeaseLosing(Broken):
    async def lease(self, key: StoreKey, /) -> Lease | None:
        lease = await self.inner.lease(key)
        await anyio.lowlevel.checkpoint()
        return lease


BROKEN: dict[type[Broken], str] = {
    Freezing: "a_record_grows_older",
    Forgetful: "a_spent_refresh_token_stays_spent",
    Coarse: "what_is_saved_is_loaded",
    OfOneKey: "keys_are_apart_by_base_url",
    Unclearable: "a_cleared_record_is_gone",
    Generous: "a_lease_excludes_all_others",
    Unfenced: "a_save_needs_the_lease",
    OfAnyKey: "a_save_needs_the_lease_of_its_key",
    Heartless: "a_heartbeat_is_none_or_a_time",
    Deaf: "a_lease_can_be_extended_while_it_is_held",
    Greedy: "an_old_lease_frees_nothing",
    LeaseClearing: "a_clear_leaves_the_lease_alone",
    LeaseLosing: "a_cancelled_call_leaves_no_lease",
}


@pytest.mark.parametrize(("kind", "name"), BROKEN.items(), ids=str)
async def test_a_broken_store_is_told_its_rule(
    kind: type[Broken], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case that is about the rule fails, and its text says so."""
    # A lease that nobody has is waited for so long.
    monkeypatch.setattr("taxizer_async.testing._store_cases.LIMIT", 0.4)
    shared = MemoryTokenStore()
    (case,) = [case for case in TOKEN_STORE_CASES if case.name == name]

    with pytest.raises(AssertionError, match=name) as caught:
        await case.run(lambda: kind(shared))
    assert case.rule in str(caught.value)


async def test_all_that_fail_are_told() -> None:
    """`check_token_store` goes on after a failure, and raises all of them at once."""
    shared = MemoryTokenStore()
    with pytest.raises(ExceptionGroup) as caught:
        await check_token_store(lambda: Unclearable(shared))

    told = [str(problem).partition(":")[0] for problem in caught.value.exceptions]
    assert told == ["a_cleared_record_is_gone"]


async def test_a_factory_may_be_async() -> None:
    """A store may have to be made in an event loop."""
    shared: TokenStore = MemoryTokenStore()

    async def make() -> TokenStore:
        await anyio.lowlevel.checkpoint()
        return shared

    assert len(await check_token_store(make)) == len(TOKEN_STORE_CASES)


async def test_what_a_store_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a store's own is kept, with a note of the case."""

    async def fail(*_: Any) -> None:
        msg = "out of order"
        raise OSError(msg)

    shared = MemoryTokenStore()
    monkeypatch.setattr(MemoryTokenStore, "load", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await check_token_store(lambda: shared)

    notes = [problem.__notes__[0] for problem in caught.value.exceptions]
    assert notes[0] == "in the case nothing_is_there_at_first"
    assert len(notes) > 10
