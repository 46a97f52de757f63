"""
A token store that can't fail: whatever it raises or returns, or however long it takes, requests go on.

A failure is reported when it begins and when it ends, not once per call.
"""

from __future__ import annotations

import enum
import math
import os

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, Literal, TypeVar, final

import anyio

from taxizer_async._core.clock import Clock
from taxizer_async._core.errors import ConfigurationError, TaxizerError, TokenStoreError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.event_loops import running_loop, start_task
from taxizer_async._core.events import StoreFailed, StoreRecovered
from taxizer_async._core.exchange import Misconfigured
from taxizer_async._core.models import Token
from taxizer_async._core.turns import Countdown, move_on_after_turns
from taxizer_async.stores import (
    FailureRecord,
    FailureStore,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    TokenStore,
)
from taxizer_async.stores._protocol import FAILURE_KINDS, LEASE_SECONDS
from taxizer_async.stores._redis_errors import error_code


T = TypeVar("T")

_ASPECTS: Final = {
    "load": "reading",
    "save": "writing",
    "clear": "writing",
    "lease": "leasing",
    "extend": "leasing",
    "release": "leasing",
}
_NOTHING: Final = StoreView(record=None, failure=None)


class NoLease(enum.Enum):
    """Why there is no lease."""

    BUSY = enum.auto()
    DOWN = enum.auto()


class SaveResult(enum.Enum):
    """What became of a save."""

    SAVED = enum.auto()
    LEASE_LOST = enum.auto()
    DOWN = enum.auto()


class _Failed(enum.Enum):
    """Stands for what a failed call did not return."""

    FAILED = enum.auto()


@final
class GuardedStore:
    """Wraps *store*; each call to it may take *timeout* seconds, counted in turns of the event loop."""

    __slots__ = (
        "_clock",
        "_event_log",
        "_looked_at",
        "_problems",
        "_store",
        "_timeout",
        "_unreadable_since",
    )

    def __init__(
        self, store: TokenStore, *, timeout: float, clock: Clock, event_log: EventLog
    ) -> None:
        self._store = store
        self._timeout = timeout
        self._clock = clock
        self._looked_at = -math.inf
        self._unreadable_since = math.inf
        self._event_log = event_log
        # By aspect, so that a store that can be read but not written is not "back" in between.
        self._problems: dict[str, str] = {}

    @property
    def failing(self) -> str | None:
        """What failed in the store and has not worked since; None if all is well."""
        return ", ".join(self._problems.values()) or None

    @property
    def is_unreadable(self) -> bool:
        """Whether it has answered no `look` in good time for as long as a lease lasts: what others save is not seen here."""
        return self._clock.monotonic() - self._unreadable_since >= LEASE_SECONDS

    async def look(self, key: StoreKey) -> StoreView:
        """Return what the store has for *key*; nothing if that can't be had."""
        now = self._clock.monotonic()
        # What a look of an earlier refresh found says nothing of the time in which nobody looked.
        since = now if now - self._looked_at >= LEASE_SECONDS else self._unreadable_since
        self._unreadable_since = min(since, now)
        is_late = False

        def note_delay() -> None:
            nonlocal is_late
            is_late = True

        async def read() -> StoreView:
            try:
                view = await self._look(key)
            except ConfigurationError:
                # `lease` reports it.
                return _NOTHING
            _refuse_unless(isinstance(view, StoreView), view, "StoreView")
            record, failure = view.record, view.failure
            _refuse_unless(record is None or _is_record(record), record, "TokenRecord")
            _refuse_unless(failure is None or _is_failure(failure), failure, "FailureRecord")
            return view

        with Countdown(self._timeout / 2, note_delay):
            view = await self._call("load", read)
        self._looked_at = self._clock.monotonic()
        if view is _Failed.FAILED:
            return _NOTHING
        if not is_late:
            self._unreadable_since = math.inf
        return view

    async def _look(self, key: StoreKey) -> StoreView:
        if isinstance(self._store, FailureStore):
            return await self._store.look(key)
        return StoreView(record=await self._store.load(key), failure=None)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease) -> SaveResult:
        """Replace the record of *key*."""
        saved = await self._call("save", lambda: self._store.save(key, record, lease))
        if saved is _Failed.FAILED:
            return SaveResult.DOWN
        return SaveResult.SAVED if saved else SaveResult.LEASE_LOST

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease) -> None:
        """Share *failure*, if the store can."""
        store = self._store
        if isinstance(store, FailureStore):
            await self._call("save", lambda: store.save_failure(key, failure, lease))

    async def clear(self, key: StoreKey) -> bool:
        """Return whether the record is gone."""
        cleared = await self._call("clear", lambda: self._store.clear(key))
        return cleared is not _Failed.FAILED

    async def lease(self, key: StoreKey) -> Lease | NoLease | Misconfigured:
        """Take the lease if it is free; `Misconfigured` means that the store can't be used here at all."""

        async def take() -> Lease | Misconfigured | None:
            try:
                lease = await self._store.lease(key)
            except ConfigurationError as cause:
                return Misconfigured(reason=str(cause))
            _refuse_unless(lease is None or _is_lease(lease), lease, "Lease")
            return lease

        lease = await self._call("lease", take)
        if lease is _Failed.FAILED:
            return NoLease.DOWN
        return NoLease.BUSY if lease is None else lease

    async def release(self, lease: Lease) -> None:
        """Give *lease* back, even while being cancelled."""
        with anyio.CancelScope(shield=True):
            await self._call("release", lease.release)

    async def hold(self, lease: Lease | None, call: Callable[[], Awaitable[T]]) -> T:
        """Return what *call* returns; extend *lease* meanwhile."""
        if lease is None or lease.heartbeat is None:
            return await call()
        # In a task like the refresh's own: the end of the loop cancels those of task groups.
        done, ended = anyio.Event(), anyio.Event()

        async def beat() -> None:
            try:
                await self.keep(lease, done)
            finally:
                ended.set()

        task = start_task(running_loop(), beat, Context())
        try:
            result = await call()
        except BaseException:
            task.cancel()
            raise
        # A beat that is under way is not cut off: it has a connection of the store's.
        done.set()
        await ended.wait()
        return result

    async def keep(self, lease: Lease, until: anyio.Event) -> None:
        """Extend *lease* again and again *until* that is set, or the lease is lost."""
        while lease.heartbeat is not None:
            with anyio.move_on_after(lease.heartbeat):
                await until.wait()
            if until.is_set() or await self.lost(lease):
                return

    async def lost(self, lease: Lease) -> bool:
        """Extend *lease*; True if somebody else may have it, and not if the store does not answer."""
        return await self._call("extend", lease.extend) is False

    async def _call(
        self, operation: str, call: Callable[[], Awaitable[T]]
    ) -> T | Literal[_Failed.FAILED]:
        problem = f"no answer within {self._timeout:g} s"
        with move_on_after_turns(self._timeout):
            try:
                value = await call()
            except Exception as cause:  # noqa: BLE001 - whatever a store raises
                problem = _describe(cause)
            else:
                self._note_success(operation)
                return value
        self._note_failure(operation, problem)
        return _Failed.FAILED

    def _note_success(self, operation: str) -> None:
        if self._problems.pop(_ASPECTS[operation], None) and not self._problems:
            self._event_log.emit(StoreRecovered())

    def _note_failure(self, operation: str, problem: str) -> None:
        if not self._problems:
            self._event_log.emit(StoreFailed(operation=operation, reason=problem))
        self._problems[_ASPECTS[operation]] = f"{operation}: {problem}"


def _refuse_unless(fits: bool, given: object, wanted: str) -> None:  # noqa: FBT001
    if not fits:
        msg = f"it returned {type(given).__name__}, not a usable {wanted}"
        raise TokenStoreError(msg)


def _is_record(given: object) -> bool:
    if not isinstance(given, TokenRecord) or not isinstance(given.token, Token):
        return False
    life = given.refresh_lifetime
    return all(map(_is_number, (given.lifetime, given.age, 0.0 if life is None else life)))


def _is_failure(given: object) -> bool:
    if not isinstance(given, FailureRecord):
        return False
    is_kind = given.kind in FAILURE_KINDS
    texts = (given.endpoint, given.text, given.pair or "")
    numbers = (given.status_code, given.failures, given.remaining)
    return (
        is_kind and all(isinstance(each, str) for each in texts) and all(map(_is_number, numbers))
    )


def _is_lease(given: object) -> bool:
    beat = getattr(given, "heartbeat", math.nan)
    beats = beat is None or (_is_number(beat) and beat > 0)
    return beats and all(callable(getattr(given, name, None)) for name in ("extend", "release"))


def _is_number(given: object) -> bool:
    return isinstance(given, (int, float)) and math.isfinite(given)


def _describe(cause: Exception) -> str:
    """Say what went wrong without the text of a foreign error, which may quote what was to be saved."""
    if isinstance(cause, TaxizerError):
        return str(cause)
    kind = type(cause).__name__
    number = cause.errno if isinstance(cause, OSError) else None
    detail = os.strerror(number) if isinstance(number, int) else error_code(cause)
    return kind if detail is None else f"{kind}, {detail}"
