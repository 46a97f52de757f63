from __future__ import annotations

import copy
import pickle
import threading

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from taxizer_async.stores import Lease, MemoryTokenStore, StoreKey, TokenRecord
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.limits import HANG
from tests.support.loops import run_together
from tests.support.tokens import make_failure, make_record
from tests.unit.conftest import InChild, ThreadWithin


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


def _leased(store: MemoryTokenStore) -> Lease:
    lease = _now(store.lease(KEY))
    assert lease is not None
    return lease


def _save(store: MemoryTokenStore, record: TokenRecord) -> None:
    lease = _leased(store)
    assert _now(store.save(KEY, record, lease))
    _now(lease.release())


@pytest.mark.parametrize("jump", [7200.0, -86_400.0])
def test_ages_by_no_wall_clock(store: MemoryTokenStore, clock: ManualClock, jump: float) -> None:
    """Setting the wall clock does not change a record's age."""
    _save(store, make_record(age=5.0))
    clock.jump(jump)

    assert _now(store.load(KEY)) == make_record(age=5.0)


@pytest.mark.report(87)
def test_a_save_needs_the_lease(store: MemoryTokenStore) -> None:
    """A save needs the lease of its key, not released before, and of this store (report 87)."""
    old = _leased(store)
    _now(old.release())
    assert _now(store.save(KEY, make_record("1"), old)) is False
    new = _leased(store)
    assert _now(store.save(KEY, make_record("1"), old)) is False
    assert _now(store.save(OTHER, make_record("1"), new)) is False
    assert _now(store.save(KEY, make_record("1"), _leased(MemoryTokenStore()))) is False

    assert _now(store.load(KEY)) is None
    assert _now(store.save(KEY, make_record("2"), new)) is True


@pytest.mark.parametrize(("seconds", "left"), [(59.5, 0.5), (60.0, None), (60.5, None)])
def test_a_failure_ends(
    store: MemoryTokenStore, clock: ManualClock, seconds: float, left: float | None
) -> None:
    """A failure is there until its time is over."""
    assert _now(store.save_failure(KEY, make_failure(remaining=60.0), _leased(store)))
    clock.advance(seconds)

    expected = None if left is None else make_failure(remaining=left)
    assert _now(store.look(KEY)).failure == expected


def test_one_thread_gets_the_lease(anyio_backend: Any) -> None:
    """Of eight loops in eight threads that ask at once, exactly one gets the lease."""
    store = MemoryTokenStore()
    start, asked = threading.Barrier(8), threading.Barrier(8)
    got: list[bool] = []

    async def ask() -> None:
        start.wait(HANG)
        got.append(await store.lease(KEY) is not None)
        asked.wait(HANG)

    run_together(*[(anyio_backend, ask)] * 8)

    assert sorted(got) == [False] * 7 + [True]


def test_a_child_starts_empty(store: MemoryTokenStore, in_child: InChild) -> None:
    """A forked child has no record and no lease of its parent, which owns the refresh token."""
    _save(store, make_record())
    _leased(store)

    assert in_child(lambda: _now(store.load(KEY)) is None and _now(store.lease(KEY)) is not None)
    assert _now(store.load(KEY)) == make_record()
    assert _now(store.lease(KEY)) is None


def test_a_child_is_not_locked_out(
    store: MemoryTokenStore, in_child: InChild, thread_within: ThreadWithin
) -> None:
    """A child can use its store even if a thread of its parent held the mutex at the fork."""

    def use() -> bool:
        _save(store, make_record("child"))
        return _now(store.load(KEY)) == make_record("child")

    with thread_within(lambda: store._state.get().mutex):
        assert in_child(use)
    assert _now(store.load(KEY)) is None


def test_a_child_can_give_back_its_parents_lease(
    store: MemoryTokenStore, in_child: InChild, thread_within: ThreadWithin
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
def test_pickles_empty(store: MemoryTokenStore, clone: Any) -> None:
    """A pickled or copied store is a new, empty one (report 92)."""
    _save(store, make_record())
    twin = clone(store)

    assert isinstance(twin, MemoryTokenStore)
    assert _now(twin.load(KEY)) is None
    assert _now(store.load(KEY)) == make_record()
    assert b"jwt-1" not in pickle.dumps(store)


def test_shows_nothing(store: MemoryTokenStore) -> None:
    """The repr of a store shows no token."""
    _save(store, make_record())

    assert "jwt-1" not in repr(store)
    assert "jwt-1" not in repr(store._state.get().records)
