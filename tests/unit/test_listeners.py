"""How listeners hear of events: in separate tasks, in order, on each event loop, and until when."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import threading
import time

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from weakref import ref

import anyio
import anyio.lowlevel
import pytest

from taxizer_async import ConfigurationError, Credentials, TaxizerAuth
from taxizer_async._core import events
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import Event
from tests.support.limits import HANG
from tests.support.loops import ASYNCIO, TRIO, native, run_together, until
from tests.support.threads import refuse_threads, wait_until
from tests.unit.conftest import InChild, ThreadWithin


ONE, TWO, THREE = events.Forgotten(), events.StoreRecovered(), events.TokenRefused(renewing=False)
ALL: Final = (ONE, TWO, THREE)
LOST: Final = "missed the last {} events, as the event loop has ended"

each_loop = pytest.mark.parametrize(
    "loop", [ASYNCIO, TRIO, ("asyncio", {"use_uvloop": True})], ids=["asyncio", "trio", "uvloop"]
)


def numbered(number: int) -> Event:
    return events.StoreFailed(operation="load", reason=str(number))


def run(loop: Any, main: Callable[[], Awaitable[object]]) -> None:
    name, options = loop
    if options.get("use_uvloop"):
        pytest.importorskip("uvloop")
    anyio.run(main, backend=name, backend_options=options)


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in log.records if each.levelno == logging.ERROR]


def silent() -> EventLog:
    return EventLog(None, timeout=HANG)


async def hang(_: Event) -> None:
    await anyio.sleep_forever()


def hear(_: Event) -> None:
    pass


async def test_a_slow_listener_delays_no_emitter() -> None:
    """A listener that is busy with an event delays neither its emitter nor that of the next event."""
    heard: list[Event] = []
    begun, go = anyio.Event(), anyio.Event()

    async def listen(event: Event) -> None:
        begun.set()
        await go.wait()
        heard.append(event)

    event_log = EventLog(listen, timeout=3 * HANG)
    with anyio.fail_after(HANG):
        for event in ALL:
            event_log.emit(event)
        await begun.wait()
        assert heard == []
        go.set()
        await event_log.delivered()

    assert heard == list(ALL)


async def test_a_hanging_listener_keeps_nothing_from_the_others() -> None:
    """While one listener hangs, those added before and after it hear all events."""
    first: list[Event] = []
    last: list[Event] = []
    event_log = EventLog(first.append, timeout=3 * HANG)
    remove = event_log.add_listener(hang)
    event_log.add_listener(last.append)
    for event in ALL:
        event_log.emit(event)
    await until(lambda: len(first) == len(last) == 3)
    remove()

    assert first == last == list(ALL)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
async def test_a_failing_listener_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """A failing listener is logged under another name than *on_event*, and hears of the next event."""
    heard: list[Event] = []
    tries: list[Event] = []

    def fail(event: Event) -> None:
        tries.append(event)
        raise error

    event_log = silent()
    event_log.add_listener(fail)
    event_log.add_listener(heard.append)
    event_log.emit(ONE)
    event_log.emit(TWO)
    await event_log.delivered()

    assert heard == tries == [ONE, TWO]
    assert errors(caplog) == [
        f"a listener failed on Forgotten: {error.__name__}",
        f"a listener failed on StoreRecovered: {error.__name__}",
    ]


async def test_a_listener_that_is_cancelled_hears_of_the_next(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancellation raised by the listener itself is a failure like others."""
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has no tasks that can be awaited")
    heard: list[Event] = []

    async def listen(event: Event) -> None:
        heard.append(event)
        task = asyncio.ensure_future(asyncio.sleep(HANG))
        task.cancel()
        await task

    event_log = EventLog(listen, timeout=HANG)
    event_log.emit(ONE)
    event_log.emit(TWO)
    await event_log.delivered()

    assert heard == [ONE, TWO]
    assert errors(caplog)[0] == "on_event failed on Forgotten: CancelledError"


async def test_a_hook_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that hangs is abandoned after its timeout, and hears of the next event."""
    heard: list[Event] = []

    async def hook(event: Event) -> None:
        heard.append(event)
        if event is ONE:
            await anyio.sleep_forever()

    event_log = EventLog(hook, timeout=0.01)
    event_log.emit(ONE)
    event_log.emit(TWO)
    with anyio.fail_after(HANG):
        await event_log.delivered()

    assert heard == [ONE, TWO]
    assert "on_event failed on Forgotten: it took more than 0.01 s" in caplog.text


async def test_a_hook_that_adds() -> None:
    """An event that is emitted while a hook runs is delivered after it."""
    heard: list[Event] = []

    def hook(event: Event) -> None:
        heard.append(event)
        if event is ONE:
            event_log.emit(TWO)

    event_log = EventLog(hook, timeout=HANG)
    event_log.emit(ONE)
    await event_log.delivered()

    assert heard == [ONE, TWO]


@pytest.mark.report(31)
@pytest.mark.parametrize("hook", ["log", 7, []], ids=repr)
def test_a_hook_is_callable(hook: Any) -> None:
    """A hook that is not callable is refused when it is passed, not when it is needed (report 31)."""
    with pytest.raises(ConfigurationError, match=f"not {type(hook).__name__}$"):
        TaxizerAuth(Credentials("id", "secret"), on_event=hook)


async def test_a_removed_listener_hears_no_more() -> None:
    """A removed listener does not hear queued events; removing it again does nothing to the others."""
    gone: list[Event] = []
    stays: list[Event] = []
    event_log = silent()
    remove = event_log.add_listener(gone.append)
    event_log.add_listener(stays.append)
    event_log.emit(ONE)
    await event_log.delivered()
    event_log.emit(TWO)
    remove()
    remove()
    event_log.emit(THREE)
    await event_log.delivered()

    assert gone == [ONE]
    assert stays == list(ALL)


async def test_a_listener_that_is_added_twice_is_two() -> None:
    """The function that `add_listener` returns removes only the listener that it added."""
    heard: list[Event] = []
    event_log = silent()
    event_log.add_listener(heard.append)
    remove = event_log.add_listener(heard.append)
    event_log.emit(ONE)
    await event_log.delivered()
    remove()
    event_log.emit(TWO)
    await event_log.delivered()

    assert heard == [ONE, ONE, TWO]


async def test_a_listener_must_not_wait_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that calls `delivered` gets an error that says why, and hears of the next event."""
    problems: list[str] = []

    async def listen(_: Event) -> None:
        with pytest.raises(RuntimeError) as caught:
            await event_log.delivered()
        problems.append(str(caught.value))

    event_log = EventLog(listen, timeout=HANG)
    event_log.emit(ONE)
    event_log.emit(TWO)
    with anyio.fail_after(HANG):
        await event_log.delivered()

    assert len(problems) == 2
    assert "a listener must not wait for events_delivered()" in problems[0]
    assert errors(caplog) == []


@each_loop
def test_queued_events_are_heard_when_a_loop_ends(loop: Any) -> None:
    """When a loop ends, listeners get time to hear the rest in order, even if nothing waits for them."""
    heard: list[Event] = []

    async def listen(event: Event) -> None:
        await anyio.sleep(0.02)
        heard.append(event)

    async def main() -> None:
        for event in ALL:
            event_log.emit(event)

    event_log = EventLog(listen, timeout=HANG)
    run(loop, main)

    assert heard == list(ALL)


@each_loop
def test_lost_events_are_logged(loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A loop ends at most a second after its program; the log says once how many events were lost."""

    async def main() -> None:
        for event in ALL:
            event_log.emit(event)
        await anyio.wait_all_tasks_blocked()

    async def again() -> None:
        event_log.emit(ONE)
        await event_log.delivered()

    event_log = EventLog(hang, timeout=3 * HANG)
    began = time.monotonic()
    run(loop, main)
    elapsed = time.monotonic() - began

    assert 0.99 <= elapsed < HANG
    assert errors(caplog) == ["on_event " + LOST.format(3)]
    heard: list[Event] = []
    event_log = EventLog(heard.append, timeout=HANG)
    run(loop, again)
    assert heard == [ONE]


@each_loop
def test_events_are_heard_while_a_loop_ends(loop: Any) -> None:
    """Events that are emitted as a loop ends, such as of its last refresh, are delivered, too."""
    heard: list[str] = []

    async def listen(event: Event) -> None:
        await anyio.sleep(0.02)
        heard.append(type(event).__name__)
        if event is ONE:
            later.emit(TWO)

    async def listen_later(event: Event) -> None:
        await anyio.sleep(0.02)
        heard.append(type(event).__name__)

    async def main() -> None:
        event_log.emit(ONE)

    event_log, later = EventLog(listen, timeout=HANG), EventLog(listen_later, timeout=HANG)
    run(loop, main)

    assert heard == ["Forgotten", "StoreRecovered"]


@each_loop
@pytest.mark.parametrize("listener", [hang, hear], ids=["hangs", "hears"])
def test_no_loop_is_kept_alive(loop: Any, listener: Any) -> None:
    """An event log keeps nothing of an event loop that has ended, whether all was heard or not."""
    loops: list[Any] = []

    async def main() -> None:
        loops.append(ref(native()))
        event_log.emit(ONE)
        await anyio.wait_all_tasks_blocked()

    event_log = EventLog(listener, timeout=3 * HANG)
    run(loop, main)
    gc.collect()

    assert loops[0]() is None


def test_a_sync_listener_hears_all_of_a_loop_that_is_left() -> None:
    """Without `asyncio.run`, a listener hears before the loop stops."""
    heard: list[Event] = []
    event_log = EventLog(heard.append, timeout=HANG)
    loop = asyncio.new_event_loop()

    async def main() -> None:
        event_log.emit(ONE)

    loop.run_until_complete(main())
    loop.close()

    assert heard == [ONE]


def test_a_stopped_loop_is_not_waited_for() -> None:
    """The queue of a stopped loop is heard when it runs again, and delays no waiter elsewhere."""
    heard: list[Event] = []
    go: list[bool] = []
    loop = asyncio.new_event_loop()

    async def listen(event: Event) -> None:
        await until(lambda: go)
        heard.append(event)

    async def main() -> None:
        event_log.emit(ONE)

    async def elsewhere() -> None:
        with anyio.fail_after(HANG):
            await event_log.delivered()

    event_log = EventLog(listen, timeout=3 * HANG)
    loop.run_until_complete(main())
    run(ASYNCIO, elsewhere)
    assert heard == []
    go.append(True)
    loop.run_until_complete(event_log.delivered())
    loop.close()

    assert heard == [ONE]


@pytest.mark.parametrize("is_waited", [True, False], ids=["waited-for", "another-event"])
def test_the_events_of_a_closed_loop_are_logged_as_lost(
    caplog: pytest.LogCaptureFixture, is_waited: bool
) -> None:
    """A loop that is closed without `asyncio.run` loses its queue, and the log says so once."""
    heard: list[Event] = []

    async def listen(event: Event) -> None:
        if not closed:
            await anyio.sleep_forever()
        heard.append(event)

    async def main() -> None:
        for event in ALL:
            event_log.emit(event)
        await anyio.wait_all_tasks_blocked()

    async def elsewhere() -> None:
        if is_waited:
            with anyio.fail_after(HANG):
                await event_log.delivered()
        else:
            number = len(heard)
            event_log.emit(ONE)
            await until(lambda: len(heard) > number)

    closed: list[bool] = []
    event_log = EventLog(listen, timeout=3 * HANG)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    closed.append(True)
    for _ in range(2):
        run(ASYNCIO, elsewhere)

    assert errors(caplog).count("on_event " + LOST.format(3)) == 1
    assert heard == ([] if is_waited else [ONE, ONE])


def test_events_of_many_threads_are_all_heard_in_order() -> None:
    """Each of 8 event loops in threads delivers its 125 events in order."""
    heard: list[Event] = []
    firsts = itertools.count(step=125)

    async def listen(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(event)

    async def main() -> None:
        first = next(firsts)
        mine = [numbered(number) for number in range(first, first + 125)]
        for event in mine:
            event_log.emit(event)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(HANG):
            await event_log.delivered()
        assert [event for event in list(heard) if event in mine] == mine

    event_log = EventLog(listen, timeout=HANG)
    run_together(*[(loop, main) for loop in (ASYNCIO, TRIO) * 4])

    assert len(heard) == 1000


def test_delivered_waits_for_other_loops() -> None:
    """`delivered` waits for events of another running loop, until that ends."""
    heard: list[Event] = []
    busy, go = threading.Event(), threading.Event()

    async def listen(event: Event) -> None:
        busy.set()
        await until(go.is_set)
        heard.append(event)

    async def there() -> None:
        event_log.emit(ONE)
        await until(lambda: heard)

    async def here() -> None:
        await until(busy.is_set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert done == []
            go.set()

    async def wait() -> None:
        with anyio.fail_after(HANG):
            await event_log.delivered()
        done.append(list(heard))

    done: list[list[Event]] = []
    event_log = EventLog(listen, timeout=3 * HANG)
    run_together((TRIO, there), (ASYNCIO, here))

    assert done == [[ONE]]


def test_a_loop_that_ends_is_not_waited_for() -> None:
    """Waiting for a loop with a hanging listener ends when that loop has ended."""
    busy, leave = threading.Event(), threading.Event()

    async def listen(_: Event) -> None:
        busy.set()
        await anyio.sleep_forever()

    async def there() -> None:
        event_log.emit(ONE)
        await until(leave.is_set)

    async def here() -> None:
        await until(busy.is_set)
        leave.set()
        with anyio.fail_after(HANG):
            await event_log.delivered()

    event_log = EventLog(listen, timeout=3 * HANG)
    run_together((ASYNCIO, there), (TRIO, here))


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_without_a_loop_sync_listeners_are_called_at_once(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """Without a loop, listeners are called in the emitting thread, and nothing they raise is raised."""
    heard: list[tuple[int, Event]] = []

    def listen(event: Event) -> None:
        heard.append((threading.get_ident(), event))
        if event is ONE:
            raise error

    event_log = EventLog(listen, timeout=HANG)
    for event in ALL:
        event_log.emit(event)

    assert heard == [(threading.get_ident(), event) for event in ALL]
    assert errors(caplog) == [f"on_event failed on Forgotten: {error.__name__}"]


def test_without_a_loop_an_async_listener_is_called_in_a_thread() -> None:
    """It hears of the event, and of no context variable of the caller."""
    heard: list[tuple[int, Event]] = []

    async def listen(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append((threading.get_ident(), event))

    event_log = EventLog(listen, timeout=HANG)
    event_log.emit(ONE)
    wait_until(lambda: heard)

    assert [event for thread, event in heard if thread != threading.get_ident()] == [ONE]


def test_without_a_loop_and_a_thread_an_async_listener_is_not_called_in_vain(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coroutine of an async listener is closed without a warning; the log says why."""
    refuse_threads(monkeypatch)
    event_log = EventLog(hang, timeout=HANG)
    event_log.emit(ONE)
    gc.collect()

    assert errors(caplog) == [
        "on_event failed on Forgotten: it is async, and there is no event loop to run it in"
    ]


def test_threads_without_loops_emit_while_listeners_come_and_go() -> None:
    """No event of 8 threads is lost while 4 threads add and remove listeners."""
    heard: list[Event] = []
    event_log = EventLog(heard.append, timeout=HANG)

    def emit() -> None:
        for number in range(125):
            event_log.emit(numbered(number))

    def change() -> None:
        for _ in range(2000):
            event_log.add_listener(lambda _: None)()

    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(call) for call in [emit] * 8 + [change] * 4]
    for call in calls:
        call.result(HANG)

    assert len(heard) == 1000


def test_a_child_tells_of_what_happens_in_it(
    in_child: InChild, thread_within: ThreadWithin
) -> None:
    """A forked child does not wait for its parent's threads, nor for their queued events."""
    heard: list[Event] = []

    async def listen(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(event)

    async def main() -> None:
        event_log.emit(TWO)
        await event_log.delivered()

    def check() -> bool:
        run(ASYNCIO, main)
        return heard == [TWO]

    event_log = EventLog(listen, timeout=HANG)
    (listener,) = event_log._listeners
    with thread_within(lambda: listener._queues.get().mutex):
        assert in_child(check)
