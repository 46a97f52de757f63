"""
Single flight: the one refresh that is under way in this process, and how callers wait for it.

A refresh belongs to no caller. It runs in a task of its own; callers on its event loop wait for an
event, callers on others are woken through their loop. All of it belongs to one process: a forked child
makes its own, as its parent's locks may be held for ever. How a token is obtained is not known here.
"""

from __future__ import annotations

import itertools
import threading
import time

from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final, final
from weakref import WeakSet

import anyio

from taxizer_async._core.clock import Clock
from taxizer_async._core.event_loops import (
    Cancellable,
    EventLoop,
    no_cancellation_lost,
    running_loop,
    start_task,
)
from taxizer_async._core.per_loop import PerLoop
from taxizer_async._core.policy import BLOCKED_AFTER, WATCH_INTERVAL
from taxizer_async._core.turns import SilentTurns
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import Failure
from taxizer_async.stores import Lease


#: The refresh that the running code is a part of.
_part_of: Final[ContextVar[SharedRefresh | None]] = ContextVar("part_of", default=None)


@final
class SharedRefresh:
    """
    One refresh, which all callers share.

    Attributes:
        began: When it began (`time.monotonic`).
        result: The token or the failure that it ended with; None until then, or if it was superseded.
        lease: The lease of the store that it holds; a refresh that takes over releases it.
        waits: Seconds that callers waited for it, once it is over.
        task: What it runs in, while it is under way.
        guard: What ends it if its task does not, because code of the user's hangs.
        stale: The token to replace: what its first caller found. One that came since then is not stale.
        predecessor: The refresh that it takes over from, because that one's loop is gone or blocked.
    """

    __slots__ = (
        "_elsewhere",
        "_ended",
        "_loop",
        "_mutex",
        "_numbers",
        "_since",
        "_task_id",
        "began",
        "guard",
        "is_over",
        "lease",
        "predecessor",
        "result",
        "stale",
        "task",
        "waits",
    )

    def __init__(
        self,
        native: object,
        stale: CachedToken | None = None,
        predecessor: SharedRefresh | None = None,
    ) -> None:
        self._loop = EventLoop(native)
        self._ended = anyio.Event()
        # Held for a few statements.
        self._mutex = threading.Lock()
        self._elsewhere: list[_EndElsewhere] = []
        self._numbers = itertools.count()
        # When each caller began to wait, by its number.
        self._since: dict[int, float] = {}
        self.task: Cancellable | None = None
        self.guard: Cancellable | None = None
        self.stale = stale
        self.predecessor = predecessor
        self.began = time.monotonic()
        self.is_over = False
        self.result: CachedToken | Failure | None = None
        self.lease: Lease | None = None
        self.waits: list[float] = []

    @property
    def loop(self) -> EventLoop:
        """The event loop that it runs in."""
        return self._loop

    def enter(self) -> None:
        """Make the running task the one that the refresh runs in."""
        self._task_id = anyio.get_current_task().id

    # Each member of a cold crowd pays for each step of this.
    async def wait(self, native: object, *, counts: bool = True) -> None:
        """
        Wait until it is over, on the running loop *native*; if it *counts*, a caller is kept waiting.

        Raises:
            RuntimeError: If the refresh itself waits, in a credentials callable or the like.
        """
        if _part_of.get() is self:
            self._refuse_its_own()
        number = next(self._numbers)
        if counts:
            self._since[number] = time.monotonic()
        try:
            await (self._ended if self._loop.is_same(native) else self._end_for(native)).wait()
        finally:
            if not self.is_over:
                since = self._since.pop(number, None)
                if since is not None:
                    self.waits.append(time.monotonic() - since)

    def let_callers_go(self) -> None:
        """Have its callers look again though it is not over, as the token that they had is good."""
        with self._mutex:
            elsewhere, self._elsewhere = self._elsewhere, []
        self._loop.call_soon(self._let_own_loop_go)
        for end in elsewhere:
            end.loop.call_soon(end.event.set)

    def _let_own_loop_go(self) -> None:
        # In its own loop, as only that can wait for an event that is made there.
        if not self.is_over:
            ended, self._ended = self._ended, anyio.Event()
            ended.set()

    def finish(self, result: CachedToken | Failure | None) -> bool:
        """End it with *result* and wake all callers; return False if it was over already."""
        with self._mutex:
            if self.is_over:
                return False
            self.is_over, self.result = True, result
            elsewhere, self._elsewhere = self._elsewhere, []
        now = time.monotonic()
        self.waits.extend(now - since for since in list(self._since.values()))
        self.task = self.predecessor = None
        for end in elsewhere:
            end.loop.call_soon(end.event.set)
        return True

    def abandon(self) -> None:
        """End it without a result, from any thread, and have its callers look again."""
        if self.finish(None):
            self._loop.call_soon(self.wake_own_loop)

    def wake_own_loop(self) -> None:
        """Wake the callers on its own loop; in that loop's thread only."""
        self._ended.set()
        if self.guard is not None:
            self.guard.cancel()

    def _end_for(self, native: object) -> anyio.Event:
        """Return the event that tells the other loop *native* of the end."""
        with self._mutex:
            for end in self._elsewhere:
                if end.loop.is_same(native):
                    return end.event
            event = anyio.Event()
            if self.is_over:
                event.set()
                return event
            end = _EndElsewhere(EventLoop(native), event)
            self._elsewhere.append(end)
        end.watcher = start_task(native, lambda: _watch(self, event), Context(), grace=0)
        return event

    def _refuse_its_own(self) -> None:
        # Other tasks that it started may wait, as it does not wait for them.
        if anyio.get_current_task().id != self._task_id:
            return
        msg = (
            "a login asked its own auth for a token, and would wait for itself: a credentials "
            "callable, http_client or store must not use the auth that it serves"
        )
        raise RuntimeError(msg)


@final
class _EndElsewhere:
    """What tells another event loop that a refresh is over."""

    __slots__ = ("event", "loop", "watcher")

    watcher: Cancellable

    def __init__(self, loop: EventLoop, event: anyio.Event) -> None:
        self.loop = loop
        self.event = event


async def _watch(refresh: SharedRefresh, ended: anyio.Event) -> None:
    """Abandon *refresh* if its loop is gone or blocked, while callers wait for *ended*."""
    # Of this loop, so that its own stall is not taken for the other's.
    silent = SilentTurns(refresh.loop)
    while not ended.is_set():
        turns = silent.count()
        if refresh.loop.is_gone or turns * WATCH_INTERVAL >= BLOCKED_AFTER:
            refresh.abandon()
            return
        with anyio.move_on_after(WATCH_INTERVAL):
            await ended.wait()


@final
class RefreshCoordinator:
    """
    All that the event loops of one process share for one provider.

    Args:
        run: Runs a refresh, in a task of its own.
    """

    __slots__ = (
        "_current",
        "_locks",
        "_mutex",
        "_run",
        "_sleepers",
    )

    def __init__(self, run: Callable[[SharedRefresh], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        # Held for a few statements, never across an await.
        self._mutex = threading.Lock()
        self._current: SharedRefresh | None = None
        self._locks = PerLoop(anyio.Lock)
        # Weak, so that the loop of one that never ends is not kept.
        self._sleepers: WeakSet[Sleeper] = WeakSet()

    def join_or_start(self, native: object, stale: CachedToken | None) -> SharedRefresh:
        """Return the refresh under way, or start one that replaces *stale* in the running loop *native*."""
        refresh = self._current
        if refresh is not None and refresh.loop.is_same(native) and not refresh.is_over:
            return refresh
        with self._mutex:
            before = self._current
            if before is not None and not before.is_over and not before.loop.is_gone:
                return before
            refresh = self._current = SharedRefresh(native, stale, before)
        if before is not None:
            before.abandon()
        context = Context()
        context.run(_part_of.set, refresh)
        started = False
        try:
            # Shared state is set first, as an eager task runs at once.
            refresh.task = start_task(native, lambda: self._run(refresh), context)
            started = True
        finally:
            if not started:
                self.end(refresh, None)
        return refresh

    def end(self, refresh: SharedRefresh, result: CachedToken | Failure | None) -> None:
        """End *refresh* with *result*, in its own loop, and wake all that wait for it or for a change."""
        with self._mutex:
            if self._current is refresh:
                self._current = None
        refresh.finish(result)
        refresh.wake_own_loop()
        self.announce_change()

    def supersede(self) -> None:
        """Have callers wait no longer for what is under way: the next one starts another refresh."""
        with self._mutex:
            refresh, self._current = self._current, None
        if refresh is not None:
            refresh.abandon()
        self.announce_change()

    @property
    def is_under_way(self) -> bool:
        """Whether a refresh is under way, in a loop that runs."""
        refresh = self._current
        return refresh is not None and not refresh.is_over and not refresh.loop.is_gone

    def abandon_in(self, native: object) -> None:
        """Abandon the refresh under way if it runs in the loop *native*, which is about to be blocked."""
        refresh = self._current
        if refresh is not None and refresh.loop.is_same(native):
            refresh.abandon()

    def let_callers_go(self) -> None:
        """Have callers look again, as the token that is being replaced is good after all."""
        refresh = self._current
        if refresh is not None:
            refresh.let_callers_go()

    def lock(self) -> anyio.Lock:
        """Return the lock that orders the refreshes of the running loop."""
        return self._locks.here()

    @contextmanager
    def sleeper(self) -> Generator[Sleeper]:
        """Yield what a `keep_fresh` of the running loop sleeps on."""
        sleeper = Sleeper(running_loop())
        with self._mutex:
            self._sleepers.add(sleeper)
        try:
            yield sleeper
        finally:
            with self._mutex:
                self._sleepers.discard(sleeper)

    @property
    def keeps_fresh(self) -> bool:
        """Whether a `keep_fresh` runs, in a loop that runs."""
        with self._mutex:
            sleepers = list(self._sleepers)
        return any(not sleeper.loop.is_gone for sleeper in sleepers)

    def announce_change(self) -> None:
        """Wake all that sleep until the token changes."""
        with self._mutex:
            sleepers = list(self._sleepers)
        for sleeper in sleepers:
            sleeper.loop.call_soon(sleeper.wake)


async def sleep_unless(changed: anyio.Event, clock: Clock, seconds: float) -> None:
    """Sleep for *seconds* of *clock*, or until *changed* is set."""

    async def wake_on_change() -> None:
        await changed.wait()
        tasks.cancel_scope.cancel()

    with no_cancellation_lost():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wake_on_change)
            await clock.sleep(seconds)
            tasks.cancel_scope.cancel()


@final
class Sleeper:
    """A `keep_fresh` that sleeps until something changes."""

    __slots__ = ("__weakref__", "_changed", "loop")

    def __init__(self, native: object) -> None:
        self.loop = EventLoop(native)
        self._changed = anyio.Event()

    def wake(self) -> None:
        """Wake it; in its own loop."""
        self._changed.set()

    @property
    def changed(self) -> anyio.Event:
        """What the next change sets: take it, look at the state, then wait for it."""
        if self._changed.is_set():
            self._changed = anyio.Event()
        return self._changed
