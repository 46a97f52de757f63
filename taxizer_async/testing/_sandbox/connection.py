"""The types of ASGI, and the TCP connection of a request as an app of the sandbox finds it; they need no server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any, Final, final


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: Where an app finds its `Connection` in the scope's state.
CONNECTION: Final = "connection"

#: Close with RST: lingering is on, for 0 s (`struct linger`, which is two shorts on Windows).
_NO_LINGER: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@final
class Connection:
    __slots__ = ("_transport", "_watchers", "lost")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._watchers: list[Callable[[], None]] = []
        self.lost: asyncio.Event = asyncio.Event()

    @contextlib.contextmanager
    def watched(self, callback: Callable[[], None]) -> Generator[None]:
        """Call *callback* if the connection is lost in the meantime."""
        self._watchers.append(callback)
        try:
            yield
        finally:
            self._watchers.remove(callback)

    async def reset(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
        await self.lost.wait()

    async def close(self) -> None:
        self._transport.close()
        await self.lost.wait()

    def abort(self) -> None:
        self._transport.abort()

    def lose(self) -> None:
        """Mark the connection as gone, and call the callbacks."""
        self.lost.set()
        for callback in self._watchers:
            callback()
