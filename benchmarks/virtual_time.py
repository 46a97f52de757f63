"""An event loop in which waiting takes no time: the clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
import time

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, final
from unittest import mock

import anyio

from taxizer_async._token import provider, single_flight


if TYPE_CHECKING:
    from collections.abc import Iterator


#: Seconds of the shortest sleep: one that rounding makes none of would be repeated for ever.
_SHORTEST: Final = 1e-6


@final
class _Jumping(selectors.DefaultSelector):
    """Does not wait, but lets the time pass that it should have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            msg = "every task waits, and none for a time"
            raise RuntimeError(msg)
        self.now += max(0.0, timeout)
        return super().select(0)


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    """For code without sockets and threads, whose answers nothing would wait for."""

    def __init__(self) -> None:
        self._virtual = _Jumping()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._virtual.now


@final
class VirtualClock:
    """The clock of the running `VirtualLoop`, as a `Clock` of the package."""

    def __init__(self) -> None:
        self.monotonic: Final = asyncio.get_running_loop().time
        self._began: Final = time.time()

    def wall(self) -> float:
        """Return epoch seconds."""
        return self._began + self.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """Let *seconds* pass."""
        await anyio.sleep(max(seconds, _SHORTEST) if seconds > 0 else 0)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Have the package measure the waits of callers on this clock, too."""
        stub = SimpleNamespace(monotonic=self.monotonic)
        with (
            mock.patch.object(provider, "time", stub),
            mock.patch.object(single_flight, "time", stub),
        ):
            yield
