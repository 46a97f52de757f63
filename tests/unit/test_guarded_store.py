from __future__ import annotations

import errno
import math
import os

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import Event, StoreFailed, StoreRecovered
from taxizer_async._core.exchange import Misconfigured
from taxizer_async._core.turns import Countdown
from taxizer_async._token.guarded_store import GuardedStore, NoLease, SaveResult
from taxizer_async.stores import (
    FailureRecord,
    Lease,
    MemoryTokenStore,
    StoreKey,
    StoreView,
    TokenRecord,
)
from taxizer_async.testing import ManualClock
from tests.support.limits import HANG
from tests.support.loops import until
from tests.support.tokens import make_failure, make_record


KEY = StoreKey("https://apistaging.taxizer.com", "app")
NOTHING = StoreView(record=None, failure=None)
FAILURE = make_failure(remaining=1.0)


#: Seconds of a store that is late.
TIMEOUT = 0.8


class Moody:
    """A store, its lease and its operator: does what *mood* says, and raises in the *broken* operations."""

    heartbeat: float | None = 0.001

    def __init__(self) -> None:
        self.mood: str | Exception = "good"
        self.broken: set[str] = set()
        self.inner = MemoryTokenStore()
        self.saved = True
        self.released = 0
        #: What `extend` answers next, and how often it was called.
        self.extensions: list[bool | Exception] = []
        self.beats = 0
        #: What it gives in place of a record and a lease.
        self.gives: dict[str, Any] = {}
        self.clock = ManualClock()
        self._heard: list[Event] = []
        self.event_log = EventLog(self._heard.append, timeout=HANG)

    def guarded(self, timeout: float = HANG) -> GuardedStore:
        return GuardedStore(self, timeout=timeout, clock=self.clock, event_log=self.event_log)

    async def heard(self) -> list[Event]:
        await self.event_log.delivered()
        return self._heard

    async def _be(self, operation: str) -> None:
        await anyio.lowlevel.checkpoint()
        if self.mood == "raising" or operation in self.broken:
            raise OSError("c4n4ry-5ecret")
        if isinstance(self.mood, Exception):
            raise self.mood
        if self.mood == "hanging":
            await anyio.sleep_forever()
        if self.mood == "late":
            answered = anyio.Event()
            with Countdown(0.75 * TIMEOUT, answered.set):
                await answered.wait()

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        await self._be("load")
        return self.gives["load"] if "load" in self.gives else await self.inner.load(key)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        await self._be("save")
        return self.saved and await self.inner.save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await self._be("clear")
        await self.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        await self._be("lease")
        return self.gives["lease"] if "lease" in self.gives else await self.inner.lease(key)

    async def extend(self) -> bool:
        await self._be("extend")
        self.beats += 1
        answer = self.extensions.pop(0) if self.extensions else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def release(self) -> None:
        await self._be("release")
        self.released += 1


@pytest.fixture(name="moody")
def _moody() -> Moody:
    return Moody()


@pytest.fixture(name="store")
def _store(moody: Moody) -> GuardedStore:
    return moody.guarded()


async def _leased(store: GuardedStore) -> Lease:
    lease = await store.lease(KEY)
    assert not isinstance(lease, (NoLease, Misconfigured))
    return lease


async def test_a_good_store(moody: Moody, store: GuardedStore) -> None:
    """Results of a working store are passed on, and nothing is reported."""
    assert await store.look(KEY) == NOTHING
    lease = await _leased(store)
    assert await store.save(KEY, make_record(), lease) is SaveResult.SAVED
    loaded = (await store.look(KEY)).record
    assert loaded is not None
    assert loaded.token == make_record().token
    assert await store.clear(KEY) is True
    assert await store.look(KEY) == NOTHING

    assert store.failing is None
    assert await moody.heard() == []


CALLS: dict[str, Callable[[GuardedStore, Moody, TokenRecord], Awaitable[object]]] = {
    "load": lambda store, _, __: store.look(KEY),
    "save": lambda store, moody, record: store.save(KEY, record, moody),
    "clear": lambda store, _, __: store.clear(KEY),
    "lease": lambda store, _, __: store.lease(KEY),
    "release": lambda store, moody, _: store.release(moody),
}
ANSWERS = {"load": NOTHING, "save": SaveResult.DOWN, "clear": False, "lease": NoLease.DOWN}


@pytest.mark.parametrize("mood", ["raising", "hanging"])
@pytest.mark.parametrize("operation", CALLS)
async def test_a_bad_store(moody: Moody, mood: str, operation: str) -> None:
    """A store that raises or hangs fails no caller; the call says that the store is down."""
    moody.mood = mood
    store = moody.guarded(0.01)
    with anyio.fail_after(HANG):
        answer = await CALLS[operation](store, moody, make_record())

    assert answer == ANSWERS.get(operation)
    assert store.failing is not None


@pytest.mark.parametrize(
    ("mood", "reason"), [("raising", "OSError"), ("hanging", "no answer within 0.5 s")]
)
async def test_a_failure_is_reported(moody: Moody, mood: str, reason: str) -> None:
    """A failure is reported with its call and its kind."""
    moody.mood = mood
    store = moody.guarded(0.5)
    await store.clear(KEY)

    assert await moody.heard() == [StoreFailed(operation="clear", reason=reason)]
    assert store.failing == f"clear: {reason}"


async def test_reports_changes_only(moody: Moody) -> None:
    """A store that is down is reported once, and once when it is back (invariant 27)."""
    store = moody.guarded(0.5)
    for mood in ("raising", "raising", "hanging", "good", "good", "raising", "good"):
        moody.mood = mood
        await store.look(KEY)

    assert await moody.heard() == [
        StoreFailed(operation="load", reason="OSError"),
        StoreRecovered(),
        StoreFailed(operation="load", reason="OSError"),
        StoreRecovered(),
    ]
    assert store.failing is None


async def test_what_works_does_not_excuse_what_fails(store: GuardedStore, moody: Moody) -> None:
    """A store that can be read but not written has not recovered until it can be written."""
    lease = await _leased(store)
    moody.broken = {"save"}
    await store.save(KEY, make_record(), lease)
    await store.look(KEY)
    assert store.failing == "save: OSError"
    moody.broken = {"save", "load"}
    await store.look(KEY)
    assert store.failing == "save: OSError, load: OSError"
    moody.broken = set()
    await store.look(KEY)
    await store.save(KEY, make_record(), lease)

    assert store.failing is None
    assert await moody.heard() == [
        StoreFailed(operation="save", reason="OSError"),
        StoreRecovered(),
    ]


@pytest.mark.parametrize("operation", ["clear", "extend", "release"])
async def test_a_store_recovers_from_a_rare_failure(
    store: GuardedStore, moody: Moody, operation: str
) -> None:
    """One failure of a rare call does not hide that the store works, or that it fails again."""
    moody.broken = {operation}
    if operation == "extend":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.keep, moody, anyio.Event())
            await until(lambda: store.failing)
            tasks.cancel_scope.cancel()
    else:
        await CALLS[operation](store, moody, make_record())
    assert store.failing is not None
    moody.broken = set()
    lease = await _leased(store)
    await store.look(KEY)
    await store.save(KEY, make_record(), lease)
    await store.release(lease)
    assert store.failing is None

    moody.broken = {"load"}
    await store.look(KEY)
    assert await moody.heard() == [
        StoreFailed(operation=operation, reason="OSError"),
        StoreRecovered(),
        StoreFailed(operation="load", reason="OSError"),
    ]


@pytest.mark.parametrize("operation", ["load", "save"])
async def test_a_cancelled_call_ends(store: GuardedStore, moody: Moody, operation: str) -> None:
    """A caller that is cancelled while the store hangs ends at once, and nothing failed."""
    moody.mood = "hanging"
    with anyio.fail_after(HANG), anyio.CancelScope() as scope:
        scope.cancel()
        await CALLS[operation](store, moody, make_record())

    assert scope.cancelled_caught
    assert store.failing is None


async def test_a_release_outlasts_a_cancellation(store: GuardedStore, moody: Moody) -> None:
    """A lease is released even while the refresh is being cancelled."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.release(moody)

    assert moody.released == 1


async def test_keep_extends_until_lost(store: GuardedStore, moody: Moody) -> None:
    """A lease is extended again and again, through failures, until it is lost."""
    moody.extensions = [True, OSError(), True, False, True]
    with anyio.fail_after(HANG):
        await store.keep(moody, anyio.Event())

    assert moody.extensions == [True]


async def test_keep_without_a_heartbeat(store: GuardedStore, moody: Moody) -> None:
    """A lease without a heartbeat is not extended."""
    moody.heartbeat = None
    with anyio.fail_after(HANG):
        await store.keep(moody, anyio.Event())

    assert moody.beats == 0


async def test_keep_ends_with_the_refresh(store: GuardedStore, moody: Moody) -> None:
    """The lease is extended until the refresh that needs it is done."""
    done = anyio.Event()
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.keep, moody, done)
            await until(lambda: moody.beats >= 3)
            done.set()

    assert store.failing is None


async def test_a_call_that_fails_ends_the_beat(store: GuardedStore, moody: Moody) -> None:
    """A lease is extended no longer once the call that it was held for has failed."""
    moody.heartbeat = 3600.0
    before = len(anyio.get_running_tasks())

    async def fail() -> None:
        await until(lambda: len(anyio.get_running_tasks()) > before)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await store.hold(moody, fail)

    await until(lambda: len(anyio.get_running_tasks()) == before)


async def test_a_beat_under_way_is_not_cut_off(
    store: GuardedStore, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What held the lease goes on when the beat that is under way is done."""
    began, answered = anyio.Event(), anyio.Event()
    order = []

    async def extend() -> bool:
        began.set()
        await answered.wait()
        order.append("beat")
        return True

    async def hold() -> None:
        await store.hold(moody, began.wait)
        order.append("held")

    monkeypatch.setattr(moody, "extend", extend)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await began.wait()
        await anyio.wait_all_tasks_blocked()
        answered.set()

    assert order == ["beat", "held"]


async def test_a_busy_lease(moody: Moody, store: GuardedStore) -> None:
    """A lease that another client holds is busy, which is not a failure."""
    await _leased(store)

    assert await store.lease(KEY) is NoLease.BUSY
    assert await moody.heard() == []


@pytest.mark.report(89)
async def test_a_lost_lease(store: GuardedStore, moody: Moody) -> None:
    """A save that the store refuses means that the lease is lost, which is not a failure (report 89)."""
    lease = await _leased(store)
    moody.saved = False

    assert await store.save(KEY, make_record(), lease) is SaveResult.LEASE_LOST
    assert await moody.heard() == []


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (OSError(errno.ENOSPC, "c4n4ry-5ecret"), f"OSError, {os.strerror(errno.ENOSPC)}"),
        (PermissionError(errno.EACCES, "x"), f"PermissionError, {os.strerror(errno.EACCES)}"),
        (OSError("c4n4ry-5ecret"), "OSError"),
        (KeyError("c4n4ry-5ecret"), "KeyError"),
        (TokenStoreError("the record is damaged"), "the record is damaged"),
    ],
)
async def test_only_safe_text_is_reported(
    store: GuardedStore, moody: Moody, problem: Exception, told: str
) -> None:
    """Our own errors are quoted; of others only the class and the system's reason are."""
    moody.mood = problem
    assert await store.look(KEY) == NOTHING

    assert await moody.heard() == [StoreFailed(operation="load", reason=told)]


async def test_a_misused_store_is_a_misconfiguration(store: GuardedStore, moody: Moody) -> None:
    """A `ConfigurationError` reaches callers that take the lease."""
    moody.mood = ConfigurationError("not on trio")

    assert await store.look(KEY) == NOTHING
    assert await store.lease(KEY) == Misconfigured(reason="not on trio")
    assert store.failing is None


def _beating(heartbeat: Any) -> Moody:
    lease = Moody()
    lease.heartbeat = heartbeat
    return lease


WRONG_FIELDS: list[dict[str, Any]] = [
    {"token": "c4n4ry-5ecret"},
    {"lifetime": "900"},
    {"lifetime": None},
    {"lifetime": math.nan},
    {"age": math.inf},
    {"refresh_lifetime": "900"},
]


@pytest.mark.parametrize("given", ["c4n4ry-5ecret", True, object(), {"token": "x"}, *WRONG_FIELDS])
async def test_what_is_no_record_is_none(store: GuardedStore, moody: Moody, given: Any) -> None:
    """A record with unusable values is a failure of the store, reported without its content."""
    is_record = isinstance(given, dict) and given in WRONG_FIELDS
    wrong = attrs.evolve(make_record(), **given) if is_record else given
    moody.gives["load"] = wrong

    assert await store.look(KEY) == NOTHING
    reason = f"it returned {type(wrong).__name__}, not a usable TokenRecord"
    assert await moody.heard() == [StoreFailed(operation="load", reason=reason)]


@pytest.mark.parametrize(
    "given",
    ["token", True, object(), *(_beating(each) for each in ("1", 0.0, -1, math.nan))],
    ids=["str", "bool", "object", "text", "zero", "negative", "nan"],
)
async def test_what_is_no_lease_is_none(store: GuardedStore, moody: Moody, given: Any) -> None:
    """A lease that can be neither extended nor released is a failure of the store."""
    moody.gives["lease"] = given

    assert await store.lease(KEY) is NoLease.DOWN
    reason = f"it returned {type(given).__name__}, not a usable Lease"
    assert await moody.heard() == [StoreFailed(operation="lease", reason=reason)]


class Sharing(Moody):
    """A store that shares failures, and gives *view*, if there is one, in place of what it has."""

    def __init__(self, view: Any = None) -> None:
        super().__init__()
        self._view = view

    async def look(self, key: StoreKey, /) -> Any:
        return await self.inner.look(key) if self._view is None else self._view

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        await self._be("save")
        return await self.inner.save_failure(key, failure, lease)


async def test_a_failure_is_shared() -> None:
    """A store that shares failures is given them, and gives them back."""
    moody = Sharing()
    store = moody.guarded()
    await store.save_failure(KEY, FAILURE, await _leased(store))
    failure = (await store.look(KEY)).failure

    assert failure is not None
    assert attrs.evolve(failure, remaining=1.0) == FAILURE
    assert await moody.heard() == []


async def test_a_plain_store_is_given_no_failure(store: GuardedStore, moody: Moody) -> None:
    """A store of the four methods alone goes on as it does."""
    await store.save_failure(KEY, FAILURE, await _leased(store))

    assert (await moody.inner.look(KEY)).failure is None
    assert await store.look(KEY) == NOTHING
    assert await moody.heard() == []


async def test_a_failure_that_can_not_be_shared_is_reported() -> None:
    """A store that can't keep a failure can't be written."""
    moody = Sharing()
    store = moody.guarded()
    lease = await _leased(store)
    moody.broken = {"save"}
    await store.save_failure(KEY, FAILURE, lease)

    assert await moody.heard() == [StoreFailed(operation="save", reason="OSError")]


def _view(**changes: Any) -> StoreView:
    return StoreView(record=None, failure=attrs.evolve(FAILURE, **changes))


NO_RECORD: Any = "c4n4ry-5ecret"


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        ("c4n4ry-5ecret", "StoreView"),
        (StoreView(record=NO_RECORD, failure=None), "TokenRecord"),
        (StoreView(record=None, failure=NO_RECORD), "FailureRecord"),
        (_view(remaining=math.nan), "FailureRecord"),
        (_view(text=1), "FailureRecord"),
        (_view(kind="sad"), "FailureRecord"),
    ],
    ids=["no-view", "no-record", "no-failure", "nan", "no-text", "kind"],
)
async def test_what_is_no_view_is_empty(view: Any, wanted: str) -> None:
    """What a store gives must be usable; else it is a failure of the store, reported without its content."""
    moody = Sharing(view)

    assert await moody.guarded().look(KEY) == NOTHING
    (event,) = await moody.heard()
    assert isinstance(event, StoreFailed)
    assert event.operation == "load"
    assert event.reason.endswith(f"not a usable {wanted}")
    assert "c4n4ry" not in event.reason


@pytest.mark.invariant(27)
async def test_a_store_whose_answers_are_late_counts_as_unreadable() -> None:
    """Looks that take half of the time-out or longer, or fail, for 5 s, are as good as none."""
    operator = Moody()
    guarded = operator.guarded(timeout=TIMEOUT)
    for mood in ("late", "raising"):
        assert not guarded.is_unreadable
        operator.mood = mood
        assert await guarded.look(KEY) == NOTHING
        operator.clock.advance(2.5)
    assert guarded.is_unreadable
    operator.mood = "good"
    await guarded.look(KEY)

    assert not guarded.is_unreadable


@pytest.mark.invariant(27)
async def test_a_first_look_that_was_cut_off_says_nothing_of_the_time_after_it() -> None:
    """One look that fails does not make a store unreadable, though an earlier one was cancelled."""
    operator = Moody()
    operator.mood = "hanging"
    guarded = operator.guarded()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guarded.look, KEY)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    operator.clock.advance(60)
    operator.mood = "raising"
    await guarded.look(KEY)

    assert not guarded.is_unreadable
