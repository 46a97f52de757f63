"""All stores keep all rules, and a store that breaks one is reported."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import subprocess
import sys

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import attrs
import pytest
import redis.asyncio
import trustme

from cryptography.fernet import Fernet

from taxizer_async.stores import MemoryTokenStore, TokenStore
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import TOKEN_STORE_CASES, StoreFactory, TokenStoreCase, check_token_store
from tests.stores.broken import BROKEN, Ending, MarkerFiles, Plain, Shared, Sharing, Unclearable
from tests.support.certificates import tls_contexts
from tests.support.redis_server import RedisServer, running_cluster
from tests.support.tcp_proxy import Proxy


#: What takes seconds for a store whose leases end by themselves.
IN_REAL_TIME = {"a_lease_lasts_for_as_long_as_it_is_extended", "a_killed_holders_lease_ends"}
quick_cases = pytest.mark.parametrize("case", TOKEN_STORE_CASES, ids=lambda case: case.name)
cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] * (case.name in IN_REAL_TIME))
        for case in TOKEN_STORE_CASES
    ],
)
IN_ONE_PROCESS = tuple(
    case.name for case in TOKEN_STORE_CASES if case.name != "a_killed_holders_lease_ends"
)
(KILLED,) = (case for case in TOKEN_STORE_CASES if case.name not in IN_ONE_PROCESS)
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

KEYS = [Fernet.generate_key() for _ in range(2)]


@quick_cases
async def test_memory(case: TokenStoreCase) -> None:
    shared = MemoryTokenStore()
    await case.run(lambda: shared)


@cases
async def test_file(case: TokenStoreCase, tmp_path: Path) -> None:
    assert await case.run(partial(FileTokenStore, tmp_path / "tokens"))


@cases
async def test_encrypted_file(case: TokenStoreCase, tmp_path: Path) -> None:
    assert await case.run(partial(FileTokenStore, tmp_path / "tokens", encryption_key=KEYS))


@attrs.frozen
class InTurn:
    """Gives the stores of this process in turn, and makes a new one in any other."""

    url: str
    stores: Iterator[TokenStore]

    def __call__(self) -> TokenStore:
        return next(self.stores)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (RedisTokenStore.from_url, self.url)


@contextlib.asynccontextmanager
async def _of_url(url: str) -> AsyncIterator[StoreFactory]:
    async with RedisTokenStore.from_url(url) as one, RedisTokenStore.from_url(url) as other:
        yield InTurn(url, itertools.cycle([one, other]))


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


@contextlib.asynccontextmanager
async def _with_prefix(url: str) -> AsyncIterator[StoreFactory]:
    async with RedisTokenStore.from_url(url, prefix="staging:") as store:
        yield lambda: store


@contextlib.asynccontextmanager
async def _of_third_protocol(url: str) -> AsyncIterator[StoreFactory]:
    async with RedisTokenStore.from_url(url, protocol=3) as store:
        yield lambda: store


@contextlib.asynccontextmanager
async def _over_tls(url: str) -> AsyncIterator[StoreFactory]:
    authority = trustme.CA()
    served, _ = tls_contexts(authority)
    port = urlsplit(url).port
    assert port is not None
    with Proxy(port, tls=served) as proxy:
        secure = f"rediss://127.0.0.1:{proxy.port}"
        trusted = authority.cert_pem.bytes().decode()
        async with RedisTokenStore.from_url(secure, ssl_ca_data=trusted) as store:
            yield lambda: store
    # asyncio has to see that the connections have ended.
    await anyio.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def _of_valkey(url: str) -> AsyncIterator[StoreFactory]:
    library: Any = pytest.importorskip("valkey.asyncio")
    async with library.Valkey.from_url(url) as client:
        yield lambda: RedisTokenStore(client)


KINDS: dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[StoreFactory]]] = {
    "from_url": _of_url,
    "a user's client": _of_client,
    "one that decodes": _of_decoding_client,
    "encrypted": _encrypted,
    "with a prefix": _with_prefix,
    "RESP3": _of_third_protocol,
    "over TLS": _over_tls,
    "a client of Valkey's": _of_valkey,
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
    with running_cluster(tmp_path) as server:
        async with redis.asyncio.RedisCluster.from_url(server.url) as client:
            passed = await check_token_store(lambda: RedisTokenStore(client))
    assert passed == IN_ONE_PROCESS


@quick_cases
@pytest.mark.parametrize("kind", [Plain, Ending, Sharing])
async def test_a_plain_store(case: TokenStoreCase, kind: type[Plain]) -> None:
    """The stores that the broken ones are made from keep all rules."""
    shared = Shared()
    await case.run(lambda: kind(shared))


@pytest.mark.report(154)
@pytest.mark.parametrize(("kind", "name"), BROKEN.items(), ids=str)
async def test_a_broken_store_is_told_its_rule(
    kind: type[Plain], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case for the broken rule fails, and its text says how, and what to do."""
    # How long a free lease is waited for.
    monkeypatch.setattr("taxizer_async.testing._store_suite.harness.LIMIT", 0.4)
    # And an age that does not change.
    monkeypatch.setattr("taxizer_async.testing._store_suite.record_cases.ON_THE_WAY", 0.2)
    # And a failure that does not end.
    monkeypatch.setattr("taxizer_async.testing._store_suite.failure_cases.GRACE", 0.4)
    shared = Shared()
    (case,) = [case for case in TOKEN_STORE_CASES if case.name == name]

    with pytest.raises(AssertionError, match=rf"^{name}: ") as caught:
        await case.run(lambda: kind(shared))
    assert case.rule in str(caught.value)
    assert str(caught.value).endswith(f". {case.advice}")


@pytest.mark.report(154)
async def test_a_store_that_keeps_a_killed_holders_lease_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is taken in another process, which is killed: the store has to notice."""
    monkeypatch.setattr("taxizer_async.testing._store_suite.harness.LIMIT", 1.0)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])

    with pytest.raises(AssertionError, match=r"^a_killed_holders_lease_ends: .* is not free"):
        await KILLED.run(partial(MarkerFiles, str(tmp_path)))


@pytest.mark.report(154)
async def test_a_process_that_does_not_share_the_store_is_told() -> None:
    """A lease that another process can take as well excludes nobody."""
    with pytest.raises(AssertionError, match="two processes hold the lease"):
        await KILLED.run(MemoryTokenStore)


async def test_a_factory_that_can_not_be_pickled_is_not_tried_elsewhere() -> None:
    """The case does not count as passed; nor if the other process does not know the factory."""
    shared = MemoryTokenStore()

    assert not await KILLED.run(lambda: shared)
    assert not await KILLED.run(Unknown())


class Unknown:
    """A factory that can be pickled, but not unpickled."""

    def __call__(self) -> TokenStore:
        raise AssertionError

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("no_module_of_this_name",)


def test_for_each_rule_there_is_a_store_that_breaks_it() -> None:
    """A new case comes with a store that it catches, a rule and advice."""
    assert set(IN_ONE_PROCESS) == set(BROKEN.values())
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
        raise OSError("out of order")

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
    assert int(done.stdout) == len(IN_ONE_PROCESS)


async def test_a_factory_may_be_async() -> None:
    """A store may be made inside the event loop."""
    shared: TokenStore = MemoryTokenStore()

    async def make() -> TokenStore:
        await anyio.lowlevel.checkpoint()
        return shared

    assert await check_token_store(make) == IN_ONE_PROCESS


async def test_what_a_store_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a store is raised as it is, with a note of the case."""

    async def fail(*_: Any) -> None:
        raise OSError("out of order")

    shared = MemoryTokenStore()
    monkeypatch.setattr(MemoryTokenStore, "load", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await check_token_store(lambda: shared)

    notes = [problem.__notes__[0] for problem in caught.value.exceptions]
    assert notes[0] == "in the case nothing_is_there_at_first"
    assert len(notes) > 10
