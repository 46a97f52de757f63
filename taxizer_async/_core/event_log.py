"""
How operators hear of events: the `taxizer_async` logger at once, their listeners a little later.

Listeners are the user's code: they run in tasks of their own, so nobody waits for them, and what they
raise is logged. Each has a queue per event loop, so that it hears what happened there in order, and one
that is slow holds up no other. Without an event loop they are called where it happened.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final
from weakref import WeakKeyDictionary

import anyio

from taxizer_async._core import events
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_loops import (
    EventLoop,
    find_running_loop,
    is_cancelled,
    running_loop,
    start_task,
)
from taxizer_async._core.policy import WATCH_INTERVAL


if TYPE_CHECKING:
    from taxizer_async._core.events import Event


EventHook: TypeAlias = Callable[["Event"], Awaitable[None] | None]

#: Seconds that listeners get to hear the rest when their event loop ends.
_GRACE: Final = 1.0

_log: Final = logging.getLogger("taxizer_async")

_LEVELS: Final[dict[type[Event], int]] = {
    events.LoggedIn: logging.INFO,
    events.Renewed: logging.INFO,
    events.Adopted: logging.DEBUG,
    events.RefreshRefused: logging.WARNING,
    events.ExchangeFailed: logging.WARNING,
    events.TokenAwaited: logging.DEBUG,
    events.LeaseAwaited: logging.DEBUG,
    events.TokenRefused: logging.INFO,
    events.Forgotten: logging.INFO,
    events.StoreFailed: logging.WARNING,
    events.StoreRecovered: logging.INFO,
    events.OriginSkipped: logging.WARNING,
}


def check_listener(listener: Any, name: str) -> ConfigurationError | None:
    """Return what is to be raised if *listener*, which was given as *name*, can't be called."""
    if callable(listener):
        return None
    return ConfigurationError(f"{name} must be a callable, not {type(listener).__name__}")


@final
class Reporter:
    """
    Logs events and tells listeners of them, which may be sync (then they must be quick) or async.

    Args:
        hook: The first listener.
        timeout: Seconds that an async listener may take for an event.

    Raises:
        ConfigurationError: If *hook* can't be called.
    """

    __slots__ = ("_listeners", "_timeout")

    def __init__(self, hook: EventHook | None, *, timeout: float) -> None:
        wrong = None if hook is None else check_listener(hook, "on_event")
        if wrong is not None:
            # The frames of a traceback may be captured with their arguments.
            del hook
            raise wrong
        self._timeout = timeout
        # A dictionary, as others iterate over a copy of it while it changes.
        self._listeners: dict[_Listener, None] = {}
        if hook is not None:
            self._add(hook, "on_event")

    def add_listener(self, listener: EventHook) -> Callable[[], None]:
        """Tell *listener*, which was checked, of what happens from now on; return what ends that."""
        added = self._add(listener, "a listener")

        def remove() -> None:
            added.is_removed = True
            self._listeners.pop(added, None)

        return remove

    def add(self, event: Event) -> None:
        """Log *event* now, and have the listeners told; nothing is waited for."""
        _log.log(_LEVELS[type(event)], "%s", event)
        if not self._listeners:
            return
        native = find_running_loop()
        for listener in list(self._listeners):
            if native is None:
                listener.tell_here(event)
            else:
                listener.queue(native).put(event, native)

    async def delivered(self) -> None:
        """
        Wait until all listeners have heard all that has happened, save on event loops that are gone.

        Raises:
            RuntimeError: If a listener waits, as it would wait for itself.
        """
        queues = [queue for listener in list(self._listeners) for queue in listener.queues()]
        task_id = anyio.get_current_task().id
        if any(queue.task_id == task_id for queue in queues):
            msg = "a listener must not wait for events_delivered(), as it would wait for itself"
            raise RuntimeError(msg)
        for queue in queues:
            await queue.heard_all()

    def _add(self, call: EventHook, name: str) -> _Listener:
        listener = _Listener(call, name, self._timeout)
        self._listeners[listener] = None
        return listener


@final
class _Listener:
    """What is called with events, and the queue that it has in each event loop."""

    __slots__ = ("_call", "_mutex", "_name", "_pid", "_queues", "_timeout", "is_removed")

    def __init__(self, call: EventHook, name: str, timeout: float) -> None:
        self._call = call
        self._name = name
        self._timeout = timeout
        self.is_removed = False
        self._start_anew()

    def queue(self, native: object) -> _Queue:
        """Return what it has to hear in the event loop *native*."""
        if self._pid != os.getpid():
            # The parent tells what happened there, and one of its threads may have held the mutex.
            self._start_anew()
        with self._mutex:
            queue = self._queues.get(native)
            if queue is not None:
                return queue
            others = list(self._queues.values())
            queue = self._queues[native] = _Queue(self, native)
        for other in others:
            other.give_up_if_closed()
        return queue

    def queues(self) -> list[_Queue]:
        """Return what it has to hear in all event loops."""
        if self._pid != os.getpid():
            self._start_anew()
        with self._mutex:
            return list(self._queues.values())

    def tell_here(self, event: Event) -> None:
        """Tell it of *event* where no event loop runs."""
        try:
            answer = self._call(event)
        except Exception as cause:  # noqa: BLE001 - it is the user's
            self._complain(type(cause).__name__, event)
            return
        if not inspect.isawaitable(answer):
            return
        if inspect.iscoroutine(answer):
            answer.close()
        self._complain("no event loop to run in, as it is async,", event)

    async def tell(self, event: Event) -> None:
        """Tell it of *event*."""
        if self.is_removed:
            return
        problem: str | None = None
        with anyio.move_on_after(self._timeout) as scope:
            try:
                answer = self._call(event)
                if inspect.isawaitable(answer):
                    await answer
            except anyio.get_cancelled_exc_class() as cause:
                if is_cancelled():
                    raise
                # It has waited for something that was.
                problem = type(cause).__name__
            except Exception as cause:  # noqa: BLE001 - it is the user's
                problem = type(cause).__name__
        if scope.cancelled_caught:
            problem = f"nothing within {self._timeout} s"
        if problem:
            self._complain(problem, event)

    def miss(self, number: int) -> None:
        """Say that it does not hear of the last *number* events of an event loop."""
        if not self.is_removed:
            _log.error(
                "%s did not hear of the last %d events: the event loop has ended",
                self._name,
                number,
            )

    def _complain(self, problem: str, event: Event) -> None:
        # No traceback: its frames are the user's, and their locals are not ours to print.
        _log.error("%s failed with %s on %s", self._name, problem, type(event).__name__)

    def _start_anew(self) -> None:
        # Held for a few statements.
        self._mutex = threading.Lock()
        self._queues: WeakKeyDictionary[object, _Queue] = WeakKeyDictionary()
        self._pid = os.getpid()


@final
class _Queue:
    """
    The events of one event loop that a listener has yet to hear, and the task that tells it.

    Only `heard_all` and `give_up_if_closed` are for other loops and their threads.

    Attributes:
        task_id: The task, while there is one: it ends when the queue is empty.
    """

    __slots__ = (
        "_events",
        "_heard",
        "_is_told",
        "_listener",
        "_loop",
        "_put",
        "_waiters",
        "task_id",
    )

    def __init__(self, listener: _Listener, native: object) -> None:
        self._listener = listener
        self._loop = EventLoop(native)
        self._events: deque[Event] = deque()
        self._put = self._heard = 0
        self._is_told = False
        self._waiters: list[tuple[EventLoop, anyio.Event]] = []
        self.task_id: int | None = None

    def put(self, event: Event, native: object) -> None:
        """Have the listener told of *event* in the running loop *native*, which is its own."""
        self._events.append(event)
        self._put += 1
        if not self._is_told:
            self._is_told = True
            # Held by its loop alone, first by its turn, then by its timer: one who holds the task
            # keeps a loop that is dropped with the task in it.
            start_task(native, self._tell_all, Context(), grace=_GRACE)

    async def heard_all(self) -> None:
        """Wait until all that was put so far was heard, or nothing more will be."""
        self.give_up_if_closed()
        number, here = self._put, EventLoop(running_loop())
        while self._heard < number and not self._loop.is_gone:
            heard = anyio.Event()
            self._waiters.append((here, heard))
            # It may have been heard in between.
            if self._heard < number:
                with anyio.move_on_after(WATCH_INTERVAL):
                    await heard.wait()

    def give_up_if_closed(self) -> None:
        """Say what was left if the loop was closed with the task in it, which then is not ended."""
        if self._loop.is_closed:
            self._give_up()

    async def _tell_all(self) -> None:
        self.task_id = anyio.get_current_task().id
        try:
            while self._events:
                await self._listener.tell(self._events[0])
                self._events.popleft()
                self._count(1)
        finally:
            self.task_id, self._is_told = None, False
            self._give_up()

    def _give_up(self) -> None:
        number = len(self._events)
        if number:
            self._events.clear()
            self._listener.miss(number)
            self._count(number)

    def _count(self, number: int) -> None:
        self._heard += number
        waiters, self._waiters = self._waiters, []
        for loop, heard in waiters:
            loop.call_soon(heard.set)
