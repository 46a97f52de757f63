"""Redis: its keys, their TTLs, and the lease that guards them."""

from __future__ import annotations

import importlib.metadata
import threading
import traceback

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest
import redis
import redis.asyncio
import redis.crc

from taxizer_async import ConfigurationError, TaxizerAuth, TokenStoreError
from taxizer_async.stores import TokenRecord
from taxizer_async.stores._protocol import LEASE_SECONDS
from taxizer_async.stores._redis_calls import MOST_AT_ONCE
from taxizer_async.stores.redis import RedisTokenStore
from taxizer_async.testing import Sandbox
from tests.stores.conftest import JWT, KEY, REFRESH, make_record
from tests.support.families import PATIENCE
from tests.support.limits import HANG
from tests.support.redis_server import RedisServer


CANARY = "c4n4ry-p4ssword"


@pytest.fixture(name="anyio_backend", params=["asyncio"])
def _anyio_backend(request: pytest.FixtureRequest) -> object:
    """`redis.asyncio` does not run on trio."""
    return request.param


@pytest.fixture(name="client")
async def _client(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture(name="store")
async def _store(client: redis.asyncio.Redis) -> RedisTokenStore:
    return RedisTokenStore(client)


async def put(store: RedisTokenStore, record: TokenRecord) -> None:
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save(KEY, record, lease)
    await lease.release()


async def one_key(client: redis.asyncio.Redis, suffix: str) -> bytes:
    (found,) = await client.keys(f"*:{suffix}")
    assert isinstance(found, bytes)
    return found


async def test_all_keys_end_by_themselves(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """Both keys expire, the lease within seconds, the record after its tokens; both are in one cluster slot."""
    lease = await store.lease(KEY)
    assert lease is not None
    assert 0 < await client.pttl(await one_key(client, "lease")) <= LEASE_SECONDS * 1000
    await store.save(KEY, make_record(), lease)
    keys = [await one_key(client, suffix) for suffix in ("lease", "token")]

    assert 0 < await client.pttl(keys[0]) <= LEASE_SECONDS * 1000
    assert 86_400_000 < await client.pttl(keys[1]) <= 86_460_000
    assert len({redis.crc.key_slot(key) for key in keys}) == 1
    assert KEY.client_id.encode() not in b"".join(keys)


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({"lifetime": 100.0, "refresh_lifetime": 10.0}, 100),
        ({"lifetime": 100.0, "refresh_lifetime": None}, 30 * 86_400),
        ({"lifetime": 100.0, "age": 95.0, "refresh_lifetime": 50.0}, 5),
        ({"lifetime": 0.0, "refresh_lifetime": -10.0}, 0),
        ({"lifetime": 10.0, "refresh_lifetime": 5.0, "age": 300.0}, 0),
        ({"lifetime": 1e12, "refresh_lifetime": 10.0}, 3_650 * 86_400 - 60),
    ],
)
async def test_a_record_is_kept_as_long_as_it_is_of_use(
    store: RedisTokenStore, client: redis.asyncio.Redis, changes: dict[str, Any], least: float
) -> None:
    """A record lasts a minute longer than the tokens in it."""
    await put(store, attrs.evolve(make_record(), **changes))
    left = await client.pttl(await one_key(client, "token")) / 1000

    assert least < left <= least + 60


@pytest.mark.parametrize(("seconds", "age"), [(60_000, 60_000), (-600, 0)])
async def test_the_age_is_the_servers(
    store: RedisTokenStore, client: redis.asyncio.Redis, seconds: int, age: int
) -> None:
    """The age of a record follows from its TTL, so that only the server's clock counts, and is never below 0."""
    await put(store, make_record())
    key = await one_key(client, "token")
    await client.pexpire(key, await client.pttl(key) - 1_000 * seconds)
    record = await store.load(KEY)

    assert record is not None
    assert age <= record.age < age + HANG


async def test_a_record_that_lost_its_ttl_is_not_used(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A record without a TTL is refused, as its age is unknown."""
    await put(store, make_record())
    await client.persist(await one_key(client, "token"))
    with pytest.raises(TokenStoreError, match="does not say how old"):
        await store.load(KEY)
    await put(store, make_record("another"))
    assert await store.load(KEY) is not None


async def test_a_lease_that_ended_is_the_next_ones(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A lost lease can neither save nor be extended, and its release does not end another's."""
    late = await store.lease(KEY)
    assert late is not None
    assert late.heartbeat == LEASE_SECONDS / 4
    await client.delete(await one_key(client, "lease"))
    assert await store.save(KEY, make_record(), late) is False
    holder = await store.lease(KEY)
    assert holder is not None
    assert await store.save(KEY, make_record("newer"), holder)

    assert await store.save(KEY, make_record(), late) is False
    assert await late.extend() is False
    await late.release()
    assert await holder.extend() is True
    record = await store.load(KEY)
    assert record is not None
    assert record.token.jwt.reveal() == "newer"


@pytest.mark.invariant(25)
async def test_a_save_that_is_late_undoes_nothing(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A save that reaches Redis after a later one of the same holder is refused, and repeating the last is not."""
    lease = await store.lease(KEY)
    assert lease is not None
    real, sent = client.eval, []

    async def note(*arguments: Any) -> Any:
        sent.append(arguments)
        return await real(*arguments)

    client.eval = note  # type: ignore[method-assign,assignment]
    assert await store.save(KEY, make_record("older"), lease)
    assert await store.save(KEY, make_record("newer"), lease)

    late, last = sent
    assert not await real(*late)
    assert await real(*last)
    record = await store.load(KEY)
    assert record is not None
    assert record.token.jwt.reveal() == "newer"
    assert await lease.extend()
    await lease.release()
    assert await store.lease(KEY) is not None


async def test_extending_is_for_the_whole_time(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A heartbeat sets the TTL anew."""
    lease = await store.lease(KEY)
    assert lease is not None
    key = await one_key(client, "lease")
    await client.pexpire(key, 500)
    assert await lease.extend()

    assert await client.pttl(key) > LEASE_SECONDS * 1000 - 400


async def test_a_lost_answer_does_not_lock_its_owner_out(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A lease that was granted is granted again, as redis-py repeats a command whose reply was lost."""
    real = client.eval

    async def lossy(*arguments: Any) -> Any:
        await real(*arguments)
        return await real(*arguments)

    client.eval = lossy  # type: ignore[method-assign,assignment]
    assert await store.lease(KEY) is not None


@pytest.mark.parametrize("answers_again", [True, False])
async def test_who_is_cancelled_leaves_no_lease_to_run_out(
    store: RedisTokenStore, client: redis.asyncio.Redis, answers_again: bool
) -> None:
    """A cancelled call releases a lease that it may have got; a silent server does not delay it."""
    real = client.eval
    given = anyio.Event()

    async def answer_late(*arguments: Any) -> Any:
        answer = await real(*arguments)
        if not given.is_set() or not answers_again:
            given.set()
            await anyio.sleep(PATIENCE)
        return answer

    client.eval = answer_late  # type: ignore[method-assign,assignment]
    with anyio.fail_after(PATIENCE / 3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.lease, KEY)
            await given.wait()
            assert await one_key(client, "lease")
            tasks.cancel_scope.cancel()

    assert await client.keys("*:lease") == []


async def test_a_damaged_record_is_told(
    store: RedisTokenStore, client: redis.asyncio.Redis
) -> None:
    """A damaged record is not used, and the next save replaces it."""
    await put(store, make_record())
    await client.set(await one_key(client, "token"), b"\xff\x00junk", keepttl=True)
    with pytest.raises(TokenStoreError, match="damaged"):
        await store.load(KEY)


def test_each_event_loop_has_connections_of_its_own(redis_server: RedisServer) -> None:
    """One store of a URL serves loops in several threads, one after the other and at once."""
    store = RedisTokenStore.from_url(redis_server.url)
    gate = threading.Barrier(4)
    seen: list[object] = []

    async def use() -> None:
        await store.load(KEY)
        await anyio.to_thread.run_sync(gate.wait)
        await store.clear(KEY)
        seen.append(await store.load(KEY))
        await store.aclose()

    for _ in range(2):
        threads = [threading.Thread(target=anyio.run, args=(use,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [None] * 8


@pytest.mark.invariant(26)
async def test_many_calls_at_once_share_a_few_connections(redis_server: RedisServer) -> None:
    """A process with hundreds of auths opens a few connections, so it is not busy with that when answers come."""
    async with RedisTokenStore.from_url(redis_server.url) as store:
        async with anyio.create_task_group() as tasks:
            for _ in range(5 * MOST_AT_ONCE):
                tasks.start_soon(store.load, KEY)
        clients = redis_server.ask("CLIENT LIST").count(b"cmd=eval")

    assert 1 < clients <= MOST_AT_ONCE


async def test_a_small_pool_is_enough(redis_server: RedisServer) -> None:
    """More calls than a client has connections wait for one another."""
    async with (
        RedisTokenStore.from_url(redis_server.url, max_connections=2) as store,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(5 * MOST_AT_ONCE):
            tasks.start_soon(store.load, KEY)


async def test_a_pool_that_the_program_has_emptied_is_waited_for(redis_server: RedisServer) -> None:
    """A connection that the program itself uses for a moment is no failure of the store."""
    library: Any = redis.asyncio
    async with library.Redis.from_url(redis_server.url, max_connections=1) as client:
        store = RedisTokenStore(client)
        async with client.pubsub() as own, anyio.create_task_group() as tasks:
            await own.subscribe("news")
            tasks.start_soon(store.load, KEY)
            await anyio.sleep(0.1)
            await own.aclose()


@pytest.mark.parametrize("left", [None, 3_600_000])
async def test_a_lease_that_would_not_end_does(
    store: RedisTokenStore,
    client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
    left: int | None,
) -> None:
    """A lease without a TTL, or with one of an hour once the clock was set back, ends like any other."""
    assert await store.lease(KEY) is not None
    key = await one_key(client, "lease")
    await client.set(key, "gone", px=left)
    monkeypatch.setattr("taxizer_async.stores.redis.LEASE_SECONDS", 0.2)

    assert not (await store.look(KEY)).leased
    assert await store.lease(KEY) is None
    assert (await store.look(KEY)).leased
    end = anyio.current_time() + HANG
    while await store.lease(KEY) is None:
        assert anyio.current_time() < end
        await anyio.sleep(0.01)


async def test_a_client_needs_no_more_than_its_type_says(client: redis.asyncio.Redis) -> None:
    """An object that passes scripts on to a client is one, though its connections can't be seen."""

    class Passing:
        eval = client.eval
        aclose = client.aclose

    store = RedisTokenStore(Passing())
    await put(store, make_record())
    assert await store.load(KEY) is not None


async def test_a_users_client_stays_in_its_loop(store: RedisTokenStore) -> None:
    """A user's client can't be used in a second loop while the first one runs; the error says what to do."""
    assert await store.load(KEY) is None
    problems: list[str] = []

    def elsewhere() -> None:
        try:
            anyio.run(store.load, KEY)
        except TokenStoreError as problem:
            problems.append(str(problem))

    await anyio.to_thread.run_sync(elsewhere)
    (problem,) = problems
    assert "is in use in another event loop" in problem
    assert "use RedisTokenStore.from_url" in problem


def test_on_trio_the_first_use_says_so(redis_server: RedisServer) -> None:
    """On trio a request fails with an error that says why, and what to do."""

    async def ask(auth: TaxizerAuth) -> None:
        await auth.token()

    with Sandbox() as sandbox:
        store = RedisTokenStore.from_url(redis_server.url)
        auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, store=store)
        with pytest.raises(ConfigurationError, match=r"needs asyncio.*FileTokenStore"):
            anyio.run(ask, auth, backend="trio")
        assert sandbox.counters.exchanges == 0


def _sync_cluster() -> object:
    cluster: Any = redis.RedisCluster.__new__(redis.RedisCluster)
    return RedisTokenStore(cluster)


def _sync_valkey() -> object:
    library: Any = pytest.importorskip("valkey")
    return RedisTokenStore(library.Valkey(password=CANARY))


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a URL": (lambda: RedisTokenStore(f"redis://:{CANARY}@h"), "RedisTokenStore.from_url"),  # type: ignore[arg-type]
    "a sync client": (
        lambda: RedisTokenStore(redis.Redis(password=CANARY)),  # type: ignore[arg-type]
        "blocks the event loop",
    ),
    "a sync client of a cluster": (_sync_cluster, "pass a redis.asyncio client"),
    "a sync client of Valkey's": (
        _sync_valkey,
        "is a Valkey, which blocks .* pass a valkey.asyncio client",
    ),
    "nothing": (lambda: RedisTokenStore(None), "not NoneType"),  # type: ignore[arg-type]
    "no URL": (lambda: RedisTokenStore.from_url(f"http://:{CANARY}@h"), "like redis://host"),
    "a wrong port": (
        lambda: RedisTokenStore.from_url(f"redis://:{CANARY}@h:x"),
        "like redis://host",
    ),
    "bytes": (lambda: RedisTokenStore.from_url(CANARY.encode()), "not bytes"),  # type: ignore[arg-type]
    "an option": (
        lambda: RedisTokenStore.from_url("redis://h", no_such_option=CANARY),
        "these options",
    ),
    "a key": (
        lambda: RedisTokenStore.from_url("redis://h", encryption_key=CANARY),
        "must be one or more Fernet keys",
    ),
    "a key of a client": (
        lambda: RedisTokenStore(redis.asyncio.Redis(), encryption_key=CANARY),
        "must be one or more Fernet keys",
    ),
}


WRONG_PREFIXES: list[Any] = [
    " ",
    "a b",
    "a\n",
    "{a}",
    "a*",
    "a?",
    "[a]",
    "a^",
    "a\\",
    "é",
    "\x7f",
    None,
    b"a",
]


@pytest.mark.report(155)
@pytest.mark.parametrize("prefix", WRONG_PREFIXES)
def test_a_prefix_has_only_characters_that_are_safe_everywhere(prefix: Any) -> None:
    """A prefix that would move keys to another slot, or match others' keys, is refused."""
    with pytest.raises(
        ConfigurationError, match=r"prefix must be a str of visible ASCII .* 'staging:'"
    ):
        RedisTokenStore.from_url("redis://h", prefix=prefix)


@pytest.mark.report(158)
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_without_a_secret(kind: str) -> None:
    """A typed error names the argument; neither its text nor any of our frames has a secret."""
    make, text = WRONG[kind]
    with pytest.raises(ConfigurationError, match=text) as caught:
        make()

    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    told.stack[:2] = []
    assert CANARY not in "".join(told.format())
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.invariant(26)
@pytest.mark.report(155)
async def test_a_prefix_comes_before_each_key(client: redis.asyncio.Redis) -> None:
    """Two stores with different prefixes share nothing, and the keys of one are in one cluster slot."""
    stores = [RedisTokenStore(client, prefix=prefix) for prefix in ("", "a:", "b-1/")]
    for store, jwt in zip(stores, ("1", "2", "3"), strict=True):
        assert await store.load(KEY) is None
        await put(store, make_record(jwt))
    lease = await stores[1].lease(KEY)
    assert lease is not None
    found: list[Any] = await client.keys("a:*")
    keys = [each.decode() for each in found]

    assert sorted(each.rpartition(":")[2] for each in keys) == ["lease", "token"]
    assert all(each.startswith("a:taxizer_async:1:{") for each in keys)
    assert len({redis.crc.key_slot(each.encode()) for each in keys}) == 1
    assert await stores[0].lease(KEY) is not None
    records = [await store.load(KEY) for store in stores]
    assert [record and record.token.jwt.reveal() for record in records] == ["1", "2", "3"]


def test_it_is_not_pickled(redis_server: RedisServer) -> None:
    """Pickling is refused, as it would expose the key and the password."""
    with pytest.raises(TypeError, match="make one in each process"):
        RedisTokenStore.from_url(redis_server.url).__reduce__()


async def test_what_is_shown_of_a_command_has_no_record_in_it(
    client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reports the arguments of its commands, as error reporters have it, reports no token."""
    shown: list[str] = []
    execute: Any = client.execute_command

    def execute_and_tell(*args: Any, **options: Any) -> Any:
        shown.append(f"{args!r} {[str(each) for each in args]}")
        return execute(*args, **options)

    monkeypatch.setattr(client, "execute_command", execute_and_tell)
    store = RedisTokenStore(client)
    await put(store, make_record())

    assert await store.load(KEY) is not None
    assert len(shown) == 4
    assert not [text for text in shown if JWT in text or REFRESH in text]


async def test_no_file_is_read_for_a_connection(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py's own version, which it tells each server, is not looked up in the event loop."""

    def read(*_: object) -> str:
        raise AssertionError

    async with RedisTokenStore.from_url(redis_server.url) as store:
        monkeypatch.setattr(importlib.metadata, "version", read)
        await store.load(KEY)
