from __future__ import annotations

import copy
import pickle
import threading

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest

from taxizer_async.stores import MemoryTokenStore, StoreKey, TokenRecord


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from taxizer_async.stores import Lease
    from taxizer_async.testing._manual_clock import ManualClock
    from tests.unit.conftest import ThreadWithin

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

T = TypeVar("T")
KEY = StoreKey("https://apistaging.taxizer.com", "app")
OTHER = StoreKey("https://apistaging.taxizer.com", "other")


@pytest.fixture(name="store")
def _store(clock: ManualClock) -> MemoryTokenStore:
    return MemoryTokenStore(clock=clock)


def _now(call: Coroutine[Any, Any, T]) -> T:
    """Run *call*, which never waits, and return its result."""
    try:
        call.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    call.close()
    pytest.fail("it waited")


def _leased(store: MemoryTokenStore, key: StoreKey = KEY) -> Lease:
    lease = _now(store.lease(key))
    assert lease is not None
    return lease


def _save(store: MemoryTokenStore, record: TokenRecord, key: StoreKey = KEY) -> None:
    lease = _leased(store, key)
    assert _now(store.save(key, record, lease))
    _now(lease.release())


def test_begins_empty(store: MemoryTokenStore) -> None:
    """A new store is empty."""
    assert _now(store.load(KEY)) is None


def test_round_trip(store: MemoryTokenStore, record: Callable[..., TokenRecord]) -> None:
    """A saved record is loaded."""
    _save(store, record(age=5.0, refresh_lifetime=60.0, refresh_spent=True))

    loaded = _now(store.load(KEY))
    assert loaded == record(age=5.0, refresh_lifetime=60.0, refresh_spent=True)


def test_ages(
    store: MemoryTokenStore, record: Callable[..., TokenRecord], clock: ManualClock
) -> None:
    """A record ages in the store, from the age that it came with."""
    _save(store, record(age=5.0))
    clock.advance(100)

    assert _now(store.load(KEY)) == record(age=105.0)
    assert _now(store.load(KEY)) == record(age=105.0)


@pytest.mark.parametrize("jump", [7200.0, -86_400.0])
def test_ages_by_no_wall_clock(
    store: MemoryTokenStore,
    record: Callable[..., TokenRecord],
    clock: ManualClock,
    jump: float,
) -> None:
    """Setting the wall clock does not change a record's age."""
    _save(store, record(age=5.0))
    clock.jump(jump)

    assert _now(store.load(KEY)) == record(age=5.0)


def test_keys_are_apart(store: MemoryTokenStore, record: Callable[..., TokenRecord]) -> None:
    """Records and leases of different apps are independent."""
    lease = _leased(store)
    _save(store, record("2"), OTHER)

    assert _now(store.load(KEY)) is None
    assert _now(store.save(KEY, record("1"), lease))
    assert _now(store.load(OTHER)) == record("2")


def test_clear(store: MemoryTokenStore, record: Callable[..., TokenRecord]) -> None:
    """A cleared record is gone, and clearing nothing is fine."""
    _save(store, record("1"))
    _save(store, record("2"), OTHER)
    _now(store.clear(KEY))
    _now(store.clear(KEY))

    assert _now(store.load(KEY)) is None
    assert _now(store.load(OTHER)) == record("2")


def test_one_has_the_lease(store: MemoryTokenStore) -> None:
    """While the lease is held no other client gets it; after the release the next one does."""
    lease = _leased(store)
    assert _now(store.lease(KEY)) is None
    assert _now(store.lease(KEY)) is None
    _now(lease.release())

    assert _now(store.lease(KEY)) is not None


def test_a_lease_lasts_by_itself(store: MemoryTokenStore) -> None:
    """A lease needs no heartbeat, and says whether it is still held."""
    lease = _leased(store)

    assert lease.heartbeat is None
    assert _now(lease.extend()) is True
    _now(lease.release())
    assert _now(lease.extend()) is False


@pytest.mark.report(87)
def test_a_save_needs_the_lease(
    store: MemoryTokenStore, record: Callable[..., TokenRecord]
) -> None:
    """A save needs the lease of this key, and one that was not released (report 87)."""
    old = _leased(store)
    _now(old.release())
    assert _now(store.save(KEY, record("1"), old)) is False
    new = _leased(store)
    assert _now(store.save(KEY, record("1"), old)) is False
    assert _now(store.save(OTHER, record("1"), new)) is False

    assert _now(store.load(KEY)) is None
    assert _now(store.save(KEY, record("2"), new)) is True


def test_a_second_release_takes_nothing(store: MemoryTokenStore) -> None:
    """Releasing a lease twice does not take it from its new holder."""
    old = _leased(store)
    _now(old.release())
    new = _leased(store)
    _now(old.release())

    assert _now(new.extend()) is True
    assert _now(store.lease(KEY)) is None


def test_another_stores_lease(store: MemoryTokenStore, record: Callable[..., TokenRecord]) -> None:
    """A lease of another store does not count."""
    lease = _leased(MemoryTokenStore())

    assert _now(store.save(KEY, record(), lease)) is False


def test_one_thread_gets_the_lease(anyio_backend: Any) -> None:
    """Of eight loops in eight threads that ask at once, exactly one gets the lease."""
    store = MemoryTokenStore()
    name, options = anyio_backend
    start, asked = threading.Barrier(8), threading.Barrier(8)
    got: list[bool] = []

    async def ask() -> None:
        await anyio.to_thread.run_sync(start.wait, 10)
        got.append(await store.lease(KEY) is not None)
        await anyio.to_thread.run_sync(asked.wait, 10)

    threads = [
        threading.Thread(
            target=anyio.run, args=(ask,), kwargs={"backend": name, "backend_options": options}
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(got) == [False] * 7 + [True]


def test_a_child_starts_empty(
    store: MemoryTokenStore,
    record: Callable[..., TokenRecord],
    in_child: Callable[[Callable[[], bool]], bool],
) -> None:
    """A forked child has no record and no lease of its parent, which owns the refresh token."""
    _save(store, record())
    _leased(store)

    assert in_child(lambda: _now(store.load(KEY)) is None and _now(store.lease(KEY)) is not None)
    assert _now(store.load(KEY)) == record()
    assert _now(store.lease(KEY)) is None


def test_a_child_is_not_locked_out(
    store: MemoryTokenStore,
    record: Callable[..., TokenRecord],
    in_child: Callable[[Callable[[], bool]], bool],
    thread_within: ThreadWithin,
) -> None:
    """A child can use its store even if a thread of its parent held the mutex at the fork."""

    def use() -> bool:
        _save(store, record("child"))
        return _now(store.load(KEY)) == record("child")

    with thread_within(lambda: store._state.get().mutex):
        assert in_child(use)
    assert _now(store.load(KEY)) is None


def test_a_child_can_give_back_its_parents_lease(
    store: MemoryTokenStore,
    in_child: Callable[[Callable[[], bool]], bool],
    thread_within: ThreadWithin,
) -> None:
    """A child that releases its parent's lease is not locked out by a thread that held the mutex."""
    lease = _leased(store)

    def release() -> bool:
        _now(lease.release())
        return True

    with thread_within(lambda: store._state.get().mutex):
        assert in_child(release)


@pytest.mark.report(92)
@pytest.mark.parametrize(
    "clone",
    [
        pytest.param(lambda s: pickle.loads(pickle.dumps(s)), id="pickle"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
    ],
)
def test_pickles_empty(
    store: MemoryTokenStore, record: Callable[..., TokenRecord], clone: Any
) -> None:
    """A pickled or copied store is a new, empty one (report 92)."""
    _save(store, record())
    twin = clone(store)

    assert isinstance(twin, MemoryTokenStore)
    assert _now(twin.load(KEY)) is None
    assert _now(store.load(KEY)) == record()
    assert b"jwt-1" not in pickle.dumps(store)


def test_shows_nothing(store: MemoryTokenStore, record: Callable[..., TokenRecord]) -> None:
    """The repr of a store shows no token."""
    _save(store, record())

    assert "jwt-1" not in repr(store)
    assert "jwt-1" not in repr(store._state.get().records)
