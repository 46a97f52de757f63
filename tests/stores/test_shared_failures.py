"""What the stores of the package do with failures beyond the rules that `test_conformance` has for all stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from cryptography.fernet import Fernet

from taxizer_async.stores import FailureRecord, FailureStore, MemoryTokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from tests.stores.conftest import KEY
from tests.support.limits import HANG
from tests.support.redis_server import RedisServer
from tests.support.tokens import make_failure


FAILURE = make_failure(kind="refused", status_code=401, text="", pair="5f" * 32)


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


async def _save(store: FailureStore, failure: FailureRecord = FAILURE) -> None:
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save_failure(KEY, failure, lease)
    await lease.release()


async def _failure(store: FailureStore) -> FailureRecord | None:
    return (await store.look(KEY)).failure


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


@pytest.mark.parametrize("left", [50_000, None])
async def test_the_end_of_a_failure_is_the_servers(
    redis_server: RedisServer, left: int | None
) -> None:
    """A failure in Redis is remembered for what is left of its TTL, and not at all if it has lost that."""
    async with RedisTokenStore.from_url(redis_server.url) as store:
        await _save(store, attrs.evolve(FAILURE, remaining=100_000.0))
        key = _key(redis_server)
        redis_server.ask(f"PERSIST {key}" if left is None else f"EXPIRE {key} {left}")
        failure = await _failure(store)

    assert (failure is None) == (left is None)
    assert failure is None or left is None or left - HANG < failure.remaining <= left


def _key(server: RedisServer) -> str:
    names = server.ask("KEYS *:failure").decode().split("\r\n")
    return next(name for name in names if name.endswith(":failure"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"{}",
        lambda _: b"\xff\xfe",
        lambda _: b"gAAAAno",
        lambda text: text.replace(b'"uptime"', b'"downtime"'),
        lambda text: text.replace(b'"boot": "', b'"boot": "not '),
    ],
    ids=["empty", "no failure", "junk", "encrypted", "without its time", "before a restart"],
)
async def test_a_file_of_a_failure_that_can_not_be_used_counts_as_none(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A failure that can't be read, or that does not say how old it is, costs no more than a try."""
    store = FileTokenStore(tmp_path / "tokens")
    await _save(store)
    (file,) = (tmp_path / "tokens").glob("*.failure")
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before

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
