"""
How threads and the requests of a sandbox wait for each other.

A `Signal` is set in any thread and awaited in the server's loop. A `Gate` holds requests back.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Self, final

import anyio.to_thread

from taxizer_async.testing._sandbox.connection import Connection


@final
class Signal:
    """An event that any thread sets once, and that coroutines of any loop wait for."""

    __slots__ = ("_futures", "_is_set", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._futures: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._is_set:
                return
            self._futures.add(future)
        try:
            await future
        finally:
            with self._lock:
                self._futures.discard(future)

    def set(self) -> None:
        """Wake all waiters; later waits return at once."""
        with self._lock:
            self._is_set = True
            futures = tuple(self._futures)
        for future in futures:
            # The loop of a stopped sandbox is closed.
            with contextlib.suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_resolve, future)


@final
class Gate:
    """
    Holds requests back until it is released; made by `Sandbox.hold`.

    As a context manager it is released at the end. A request no longer counts as waiting once its client has
    left; it is still processed after the release, as by a server that does not notice.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._signal = Signal()
        self._changed = threading.Condition()
        self._waiting: set[Connection] = set()
        self._released = False

    def __repr__(self) -> str:
        state = "released" if self._released else f"{self.waiting} waiting"
        return f"<Gate {self.where}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def waiting(self) -> int:
        """How many requests it holds back."""
        with self._changed:
            return len(self._waiting)

    @property
    def released(self) -> bool:
        """Whether requests pass."""
        with self._changed:
            return self._released

    def release(self) -> None:
        """Let all requests pass from now on."""
        with self._changed:
            self._released = True
        self._signal.set()

    def wait_until(self, n: int, timeout: float = 30.0) -> None:
        """
        Block this thread until *n* requests wait, for at most *timeout* seconds.

        Raises:
            TimeoutError: If they did not.
        """
        with self._changed:
            if self._changed.wait_for(lambda: len(self._waiting) >= n, timeout):
                return
            came = len(self._waiting)
        msg = f"{came} of {n} requests reached {self.where} within {timeout:g} s"
        raise TimeoutError(msg)

    async def wait_until_async(self, n: int, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - the twin's
        """
        Wait until *n* requests wait, for at most *timeout* seconds.

        Raises:
            TimeoutError: If they did not.
        """
        await anyio.to_thread.run_sync(partial(self.wait_until, n, timeout), abandon_on_cancel=True)

    async def hold(self, connection: Connection) -> None:
        """Hold the request of *connection* back; the server's loop calls this."""
        leave = partial(self._update, self._waiting.discard, connection)
        self._update(self._waiting.add, connection)
        try:
            with connection.watched(leave):
                await self._signal.wait()
        finally:
            leave()

    def _update(self, change: Callable[[Connection], None], connection: Connection) -> None:
        with self._changed:
            change(connection)
            self._changed.notify_all()


async def first_of(*waits: Coroutine[object, object, object], seconds: float | None) -> None:
    """Return once one of *waits* has, or after *seconds*."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
