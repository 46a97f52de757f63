"""All stores keep all rules, and a store that breaks one is reported."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import redis.asyncio

from cryptography.fernet import Fernet

from taxizer_async.stores import MemoryTokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, check_token_store
from tests.stores.broken import BROKEN, Plain, Shared, Unclearable
from tests.support.redis_server import RedisServer
from tests.support.server_process import attempts


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from taxizer_async.stores import TokenStore
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


@pytest.mark.slow
@on_asyncio
async def test_redis_cluster(tmp_path: Path) -> None:
    """All keys of a script are in one slot, as a cluster demands."""
    with RedisServer(tmp_path, options=["--cluster-enabled", "yes"]) as server:
        for first in range(0, 16_384, 4_096):
            slots = " ".join(map(str, range(first, first + 4_096)))
            assert server.ask(f"CLUSTER ADDSLOTS {slots}") == b"+OK\r\n"
        for _ in attempts():
            if b"cluster_state:ok" in server.ask("CLUSTER INFO"):
                break
        async with redis.asyncio.RedisCluster.from_url(server.url) as client:
            passed = await check_token_store(lambda: RedisTokenStore(client))
    assert len(passed) == len(TOKEN_STORE_CASES)


@cases
async def test_a_plain_store(case: TokenStoreCase) -> None:
    """The store that the broken ones are made from keeps all rules."""
    shared = Shared()
    await case.run(lambda: Plain(shared))


@pytest.mark.parametrize(("kind", "name"), BROKEN.items(), ids=str)
async def test_a_broken_store_is_told_its_rule(
    kind: type[Plain], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case for the broken rule fails, and its text says how, and what to do."""
    # How long a free lease is waited for.
    monkeypatch.setattr("taxizer_async.testing._store_suite.harness.LIMIT", 0.4)
    # And an age that does not change.
    monkeypatch.setattr("taxizer_async.testing._store_suite.record_cases.ON_THE_WAY", 0.2)
    shared = Shared()
    (case,) = [case for case in TOKEN_STORE_CASES if case.name == name]

    with pytest.raises(AssertionError, match=rf"^{name}: ") as caught:
        await case.run(lambda: kind(shared))
    assert case.rule in str(caught.value)
    assert str(caught.value).endswith(f". {case.advice}")


def test_for_each_rule_there_is_a_store_that_breaks_it() -> None:
    """A new case comes with a store that it catches, a rule and advice."""
    assert {case.name for case in TOKEN_STORE_CASES} == set(BROKEN.values())
    assert all(case.rule and case.advice for case in TOKEN_STORE_CASES)


async def test_all_that_fail_are_told() -> None:
    """`check_token_store` goes on after a failure, and raises all of them at once."""
    shared = Shared()
    with pytest.raises(ExceptionGroup, match=r"3 of \d+ cases failed: .*a_cleared_") as caught:
        await check_token_store(lambda: Unclearable(shared))

    told = [str(problem).partition(":")[0] for problem in caught.value.exceptions]
    assert told == [
        "a_cleared_record_is_gone",
        "keys_that_look_alike_are_apart",
        "what_was_cancelled_can_be_done_again",
    ]


async def test_what_a_store_raises_in_a_crowd_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the store is not a broken rule, even if a task group wraps it."""

    async def fail(*_: Any) -> None:
        msg = "out of order"
        raise OSError(msg)

    shared = MemoryTokenStore()
    monkeypatch.setattr(MemoryTokenStore, "lease", fail)
    (case,) = [each for each in TOKEN_STORE_CASES if each.name == "one_of_many_gets_the_lease"]
    with pytest.raises(ExceptionGroup) as caught:
        await case.run(lambda: shared)
    assert caught.group_contains(OSError, match="out of order")


async def test_a_call_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case ends even if the store hangs."""
    monkeypatch.setattr("taxizer_async.testing._store_suite.suite.LIMIT", 0.05)

    async def hang(*_: Any) -> None:
        await anyio.sleep_forever()

    shared = MemoryTokenStore()
    monkeypatch.setattr(MemoryTokenStore, "load", hang)
    with pytest.raises(AssertionError, match=r"longer than 0\.05 s"):
        await TOKEN_STORE_CASES[0].run(lambda: shared)


def test_the_suite_needs_no_extra_of_a_store() -> None:
    """A store can be checked without filelock, redis and pytest."""
    program = """
import sys
for name in ("filelock", "redis", "cryptography", "pytest"):
    sys.modules[name] = None
import anyio
from taxizer_async.stores import MemoryTokenStore
from taxizer_async.testing import check_token_store
shared = MemoryTokenStore()
print(len(anyio.run(check_token_store, lambda: shared)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert int(done.stdout) == len(TOKEN_STORE_CASES)


async def test_a_factory_may_be_async() -> None:
    """A store may be made inside the event loop."""
    shared: TokenStore = MemoryTokenStore()

    async def make() -> TokenStore:
        await anyio.lowlevel.checkpoint()
        return shared

    assert len(await check_token_store(make)) == len(TOKEN_STORE_CASES)


async def test_what_a_store_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a store is raised as it is, with a note of the case."""

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
