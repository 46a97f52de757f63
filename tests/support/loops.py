"""Event loops in threads, and refreshes that end when a test says so."""

from __future__ import annotations

import threading

from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import anyio
import anyio.lowlevel

from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.single_flight import RefreshCoordinator, SharedRefresh
from tests.support.limits import HANG


Main = Callable[[], Awaitable[object]]


ASYNCIO: Final[Any] = ("asyncio", {"use_uvloop": False})
TRIO: Final[Any] = ("trio", {})


def native() -> object:
    """Return the backend's object for the running event loop."""
    return anyio.lowlevel.current_token().native_token


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds, which another thread may cause."""
    with anyio.fail_after(HANG):
        while not condition():  # noqa: ASYNC110 - no event crosses threads
            await anyio.sleep(0.001)


def run_together(*loops: tuple[Any, Main]) -> None:
    """Run each `main` in a new event loop and thread; raise what one of them raised."""
    errors: list[BaseException] = []

    def run(backend: Any, main: Main) -> None:
        name, options = backend
        try:
            anyio.run(main, backend=name, backend_options=options)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    # A failing test does not wait for a loop that hangs.
    threads = [threading.Thread(target=run, args=loop, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * HANG)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)


@final
class Refreshes:
    """A coordinator with refreshes that run until they are released, and then end with *result*."""

    def __init__(self, result: CachedToken) -> None:
        self.result = result
        self.coordinator = RefreshCoordinator(self._run)
        #: The refreshes that have started, in order.
        self.begun: list[SharedRefresh] = []
        self._let_go = threading.Event()

    def let_go(self) -> None:
        """End all refreshes; may be called in any thread."""
        self._let_go.set()

    def join(self) -> SharedRefresh:
        """Join the refresh that is under way, or start one in the running loop."""
        return self.coordinator.join_or_start(native(), None)

    async def begin(self) -> SharedRefresh:
        """Start the first refresh, and return it once another loop waits for it."""
        refresh = self.join()
        await until(lambda: self.begun and refresh._elsewhere)
        return refresh

    async def follow(self) -> SharedRefresh:
        """Wait until the first refresh has begun and has ended."""
        await until(lambda: self.begun)
        with anyio.fail_after(HANG):
            await self.begun[0].wait(native())
        return self.begun[0]

    async def _run(self, refresh: SharedRefresh) -> None:
        refresh.enter()
        self.begun.append(refresh)
        await until(self._let_go.is_set)
        self.coordinator.end(refresh, self.result)
