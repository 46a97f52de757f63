"""
Where events go: to the `taxizer_async` logger at once, and to listeners a little later.

Listeners are the user's code. They run in separate tasks, so that nothing waits for them, and what they
raise is logged. Each listener has a queue per event loop: it hears the events of a loop in order, and a
slow listener delays no other. Where no event loop runs, listeners are called directly.
"""

from __future__ import annotations

import contextlib
import inspect
import threading

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeAlias, final
from weakref import WeakKeyDictionary

import anyio
import attrs

from taxizer_async._core.event_loops import EventLoop, is_cancelled, running_loop, start_task
from taxizer_async._core.events import Event
from taxizer_async._core.log_lines import LOG, log_event
from taxizer_async._core.process import PerProcess


EventHook: TypeAlias = Callable[[Event], Awaitable[None] | None]

#: Seconds that a listener gets for the rest of its events when its event loop ends.
_GRACE: Final = 1.0
#: Seconds between two looks at what has been delivered: only tests wait for that.
_LOOKS_EVERY: Final = 0.005


@final
class EventLog:
    """
    Logs events and passes them to listeners, which are async, or sync and quick.

    *hook* is the first one. An async listener may take *timeout* seconds for an event.
    """

    __slots__ = ("_listeners", "_timeout")

    def __init__(self, hook: EventHook | None, *, timeout: float) -> None:
        self._timeout = timeout
        # A dictionary keeps the order, and is copied in one step while other threads change it.
        self._listeners: dict[_Listener, None] = {}
        if hook is not None:
            self._add(hook, "on_event")

    def add_listener(self, listener: EventHook) -> Callable[[], None]:
        """Pass events to *listener* from now on; return a function that ends that."""
        added = self._add(listener, "a listener")

        def remove() -> None:
            added.is_removed = True
            self._listeners.pop(added, None)

        return remove

    def emit(self, event: Event) -> None:
        """Log *event* and queue it for the listeners; waits for nothing."""
        log_event(event)
        if not self._listeners:
            return
        native = None
        with contextlib.suppress(anyio.NoEventLoopError):
            native = running_loop()
        for listener in list(self._listeners):
            if native is None:
                listener.call_directly(event)
            else:
                listener.queue(native).put(event, native)

    async def delivered(self) -> None:
        """
        Wait until the listeners have heard all events so far, except those of event loops that are gone.

        Raises:
            RuntimeError: If a listener calls this, as it would wait for itself.
        """
        queues = [queue for listener in list(self._listeners) for queue in listener.queues()]
        task_id = anyio.get_current_task().id
        if any(queue.task_id == task_id for queue in queues):
            msg = "a listener must not wait for events_delivered(), as it would wait for itself"
            raise RuntimeError(msg)
        for queue in queues:
            await queue.heard_all()

    def _add(self, call: EventHook, name: str) -> _Listener:
        listener = _Listener(call, name, self._timeout, self)
        self._listeners[listener] = None
        return listener


@final
@attrs.define(eq=False, repr=False)
class _Listener:
    """A callable of *log*, and its queues of events, one per event loop."""

    _call: EventHook
    _name: str
    _timeout: float
    _log: EventLog
    is_removed: bool = False
    # A forked child must not wait for events that its parent delivers.
    _queues: PerProcess[_Queues] = attrs.field(factory=lambda: PerProcess(_Queues))

    def queue(self, native: object) -> _Queue:
        own = self._queues.get()
        with own.mutex:
            queue = own.by_loop.get(native)
            if queue is not None:
                return queue
            others = list(own.by_loop.values())
            queue = own.by_loop[native] = _Queue(self, EventLoop(native))
        for other in others:
            other.give_up_if_closed()
        return queue

    def queues(self) -> list[_Queue]:
        own = self._queues.get()
        with own.mutex:
            return list(own.by_loop.values())

    def call_directly(self, event: Event) -> None:
        """Call the listener where no event loop runs; an async one goes on in the helper thread."""
        try:
            answer = self._call(event)
        except (Exception, SystemExit) as cause:  # noqa: BLE001 - it is the user's
            self._log_failure(type(cause).__name__, event)
            return
        if not inspect.isawaitable(answer):
            return
        # Imported here, as async programs do not need it.
        from taxizer_async._core.helper_loop import BlockedError  # noqa: PLC0415
        from taxizer_async._core.helper_thread import submit  # noqa: PLC0415

        try:
            submit(lambda: self.call(event, answer), self._log)
        except BlockedError:
            problem = "it is async, and each thread that may run it is blocked"
        except (RuntimeError, OSError):
            problem = "it is async, and there is no event loop to run it in"
        else:
            return
        if inspect.iscoroutine(answer):
            answer.close()
        self._log_failure(problem, event)

    async def call(self, event: Event, answer: Awaitable[None] | None = None) -> None:
        """Call the listener, unless it has begun to *answer*, and wait for it within its timeout."""
        if self.is_removed:
            return
        problem: str | None = None
        with anyio.move_on_after(self._timeout) as scope:
            try:
                answer = answer or self._call(event)
                if inspect.isawaitable(answer):
                    await answer
            except anyio.get_cancelled_exc_class() as cause:
                if is_cancelled():
                    raise
                # Not this task: something that the listener waited for was cancelled.
                problem = type(cause).__name__
            except (Exception, SystemExit) as cause:  # noqa: BLE001 - it is the user's
                problem = type(cause).__name__
        if scope.cancelled_caught:
            problem = f"it took more than {self._timeout:g} s"
        if problem:
            self._log_failure(problem, event)

    def miss(self, number: int) -> None:
        """Log that the listener does not hear the last *number* events of an event loop."""
        if not self.is_removed:
            LOG.error(
                "%s missed the last %d events, as the event loop has ended",
                self._name,
                number,
            )

    def _log_failure(self, problem: str, event: Event) -> None:
        # Without a traceback, as that shows the locals of the user's frames.
        LOG.error("%s failed on %s: %s", self._name, type(event).__name__, problem)


@final
@attrs.define(eq=False, repr=False)
class _Queues:
    """The queues of a listener in one process; *mutex* is held for a few statements."""

    mutex: threading.Lock = attrs.field(factory=threading.Lock)
    by_loop: WeakKeyDictionary[object, _Queue] = attrs.field(
        factory=WeakKeyDictionary[object, "_Queue"]
    )


@final
@attrs.define(eq=False, repr=False)
class _Queue:
    """
    The events of one event loop that a listener has yet to hear, and the task that calls it.

    Other loops and their threads may only call `heard_all` and `give_up_if_closed`.

    Attributes:
        task_id: Identifies the task while it runs: it ends when the queue is empty.
    """

    _listener: _Listener
    _loop: EventLoop
    _events: deque[Event] = attrs.field(factory=deque[Event])
    _put: int = 0
    _heard: int = 0
    _is_running: bool = False
    task_id: int | None = None

    def put(self, event: Event, native: object) -> None:
        """Add *event*; *native* is the queue's loop, which runs here."""
        self._events.append(event)
        self._put += 1
        if not self._is_running:
            self._is_running = True
            # The task is not kept: it would keep alive a loop that was dropped together with it.
            start_task(native, self._deliver, Context(), grace=_GRACE)

    async def heard_all(self) -> None:
        """Wait until the listener has heard all events so far, or can hear no more."""
        self.give_up_if_closed()
        number = self._put
        while self._heard < number and not self._loop.is_gone:  # noqa: ASYNC110 - other threads deliver, too
            await anyio.sleep(_LOOKS_EVERY)

    def give_up_if_closed(self) -> None:
        """Log how many events are left if the loop was closed before the task ended."""
        if self._loop.is_closed:
            self._give_up()

    async def _deliver(self) -> None:
        self.task_id = anyio.get_current_task().id
        try:
            while self._events:
                await self._listener.call(self._events[0])
                self._events.popleft()
                self._heard += 1
        finally:
            self.task_id, self._is_running = None, False
            self._give_up()

    def _give_up(self) -> None:
        number = len(self._events)
        if number:
            self._events.clear()
            self._listener.miss(number)
            self._heard += number
