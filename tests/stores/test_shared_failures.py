"""How the stores keep failures: for as long as they are remembered, under the lease, and beside no newer token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from cryptography.fernet import Fernet

from taxizer_async.stores import FailureRecord, FailureStore, MemoryTokenStore, StoreKey
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from tests.stores.conftest import KEY, make_record
from tests.support.limits import HANG


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.redis_server import RedisServer


OTHER = StoreKey(KEY.base_url, "client-2")
FAILURE = FailureRecord(
    kind="refused",
    endpoint="https://api.test/v1/Auth/Connect",
    status_code=401,
    text="",
    pair="5f" * 32,
    failures=3,
    ahead_of_need=False,
    remaining=60.0,
)


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="make_store", params=["memory", "file", "redis", "redis, decoding"])
async def _make_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[..., FailureStore]]:
    """Make stores that share what they keep."""
    kind, _, decodes = request.param.partition(", ")
    redis: RedisServer | None = request.getfixturevalue("redis_server") if kind == "redis" else None
    memory = MemoryTokenStore()
    made: list[RedisTokenStore] = []

    def make(**options: Any) -> FailureStore:
        if kind == "memory":
            return memory
        if redis is None:
            return FileTokenStore(tmp_path / "tokens", **options)
        made.append(RedisTokenStore.from_url(redis.url, decode_responses=bool(decodes), **options))
        return made[-1]

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture(name="store")
def _store(make_store: Callable[..., FailureStore]) -> FailureStore:
    return make_store()


async def _save(store: FailureStore, failure: FailureRecord = FAILURE) -> bool:
    lease = await store.lease(KEY)
    assert lease is not None
    saved = await store.save_failure(KEY, failure, lease)
    await lease.release()
    return saved


async def _failure(store: FailureStore, key: StoreKey = KEY) -> FailureRecord | None:
    return (await store.look(key)).failure


@pytest.mark.invariant(21)
async def test_a_failure_is_there_for_all(
    store: FailureStore, make_store: Callable[..., FailureStore]
) -> None:
    """What one client was answered another one finds, with less time left."""
    assert await _failure(store) is None
    assert await _save(store)

    found = await _failure(make_store())
    assert found is not None
    assert attrs.evolve(found, remaining=60.0) == FAILURE
    assert 60.0 - HANG < found.remaining <= 60.0
    assert await _failure(store, OTHER) is None


async def test_a_failure_ends(store: FailureStore) -> None:
    """A failure is gone when it is no longer remembered."""
    await _save(store, attrs.evolve(FAILURE, remaining=0.2))
    with anyio.fail_after(HANG):
        while await _failure(store) is not None:  # noqa: ASYNC110 - a store does not tell
            await anyio.sleep(0.02)


async def test_a_failure_is_saved_under_the_lease_only(store: FailureStore) -> None:
    """A client that has lost the lease does not tell others of its failure."""
    lease, others = await store.lease(KEY), await store.lease(OTHER)
    assert lease is not None
    assert others is not None
    await lease.release()

    assert not await store.save_failure(KEY, FAILURE, lease)
    assert not await store.save_failure(KEY, FAILURE, others)
    assert await _failure(store) is None
    await others.release()


@pytest.mark.invariant(21)
async def test_a_token_drops_the_failure(store: FailureStore) -> None:
    """What succeeds after a failure takes its place."""
    await _save(store)
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save(KEY, make_record(), lease)
    await lease.release()

    view = await store.look(KEY)
    assert view.record is not None
    assert view.failure is None


async def test_a_failure_leaves_the_record(store: FailureStore) -> None:
    """A failure is kept beside the record, whose refresh token may still be good."""
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save(KEY, make_record(), lease)
    assert await store.save_failure(KEY, FAILURE, lease)
    await lease.release()

    view = await store.look(KEY)
    assert view.record is not None
    assert view.record == attrs.evolve(make_record(), age=view.record.age)
    assert view.failure is not None


@pytest.mark.invariant(21)
async def test_clear_drops_the_failure(store: FailureStore) -> None:
    """What is forgotten is forgotten with its failures."""
    await _save(store)
    await store.clear(KEY)

    assert await _failure(store) is None


async def test_a_look_tells_of_the_lease_if_it_can(store: FailureStore) -> None:
    """A store says whether the lease is held, or that it can't tell."""
    lease = await store.lease(KEY)
    assert lease is not None
    held = (await store.look(KEY)).leased
    await lease.release()
    free = (await store.look(KEY)).leased

    assert (held, free) == ((None, None) if isinstance(store, FileTokenStore) else (True, False))


async def test_a_failure_is_encrypted(make_store: Callable[..., FailureStore]) -> None:
    """With an encryption key a failure can be read with it only; without one it counts as none."""
    if isinstance(make_store(), MemoryTokenStore):
        pytest.skip("it keeps nothing outside the process")
    key = Fernet.generate_key()
    await _save(make_store(encryption_key=key))

    assert await _failure(make_store(encryption_key=key)) is not None
    assert await _failure(make_store(encryption_key=Fernet.generate_key())) is None
    assert await _failure(make_store()) is None


def test_each_failure_in_redis_has_an_end(redis_server: RedisServer) -> None:
    """A failure in Redis is not there for longer than it is remembered."""

    async def save() -> None:
        async with RedisTokenStore.from_url(redis_server.url) as store:
            await _save(store)

    anyio.run(save)
    ttl = int(redis_server.ask(f"PTTL {_key(redis_server)}").strip(b":\r\n"))
    assert 0 < ttl <= 60_000


def _key(server: RedisServer) -> str:
    names = server.ask("KEYS *:failure").decode().split("\r\n")
    return next(name for name in names if name.endswith(":failure"))


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"gAAAAno"])
async def test_a_damaged_file_of_a_failure_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    """A failure that can't be read costs no more than a try."""
    store = FileTokenStore(tmp_path / "tokens")
    await _save(store)
    (file,) = (tmp_path / "tokens").glob("*.failure")
    file.write_bytes(damage)

    assert (await store.look(KEY)).failure is None


async def test_the_file_of_a_failure_that_is_a_link_counts_as_none(tmp_path: Path) -> None:
    """No link is followed, and the record is loaded all the same."""
    store = FileTokenStore(tmp_path / "tokens")
    await _save(store)
    (file,) = (tmp_path / "tokens").glob("*.failure")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    lease = await store.lease(KEY)
    assert lease is not None

    assert (await store.look(KEY)).failure is None
    await lease.release()
