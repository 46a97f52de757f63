"""A TCP proxy in a thread, which resets connections, holds answers back, or forgets idle connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import threading

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Literal, Self, final


Direction = Literal["to server", "to client"]
#: What becomes of what a client sends on a connection that a firewall has forgotten.
Manner = Literal["in silence", "with a reset"]

_CHUNK = 65_536
#: Makes closing a socket send a reset.
_NO_LINGER = struct.pack("ii", 1, 0)


@final
class Proxy:
    """
    Passes connections on to *port* of loopback, for the length of a `with`.

    Args:
        port: Where to.
        tls: The certificate, if clients speak TLS to it.

    Attributes:
        latency: Seconds that an answer is on its way.
        passed: How many bytes have gone which way.
        resets: How many connections were reset on purpose.
        swallowed: How many times something was sent on a forgotten connection in vain.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.latency = 0.0
        self._tls = tls
        self.passed: dict[Direction, int] = {"to server": 0, "to client": 0}
        self.resets = 0
        self.swallowed = 0
        self._forgotten: dict[asyncio.StreamWriter, Manner | None] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._upstream = port
        self._port: Future[int] = Future()
        self._cuts: dict[Direction, Iterator[int]] = {}
        self._left: dict[Direction, int] = {}
        self._loop = asyncio.new_event_loop()
        self._answering = asyncio.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._answering.set()
        self._thread.start()
        self._port.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def port(self) -> int:
        return self._port.result()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def go_to(self, port: int) -> None:
        """Pass new connections on to *port*."""
        self._upstream = port

    def cut(self, direction: Direction, after: Iterable[int]) -> None:
        """Reset a connection after so many more bytes, for each number of *after* in turn."""

        def arm() -> None:
            self._cuts[direction] = iter(after)
            self._arm(direction)

        self._do(arm)

    def hold(self) -> None:
        """Hold all answers back."""
        self._do(self._answering.clear)

    def forget_connections(self, manner: Manner) -> None:
        """Pass nothing on any more over the connections that there are, as a firewall that forgot them."""

        def forget() -> None:
            for each in self._forgotten:
                self._forgotten[each] = manner

        self._do(forget)

    def heal(self) -> None:
        """Stop cutting and holding."""

        def disarm() -> None:
            self._left.clear()
            self._answering.set()

        self._do(disarm)

    def _do(self, call: Callable[[], object]) -> None:
        done: Future[object] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(call()))
        done.result()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, ssl=self._tls)
        async with server:
            self._port.set_result(server.sockets[0].getsockname()[1])
            await self._over.wait()
            # Leaving may wait for all connections, and a forgotten one has no end.
            serving = list(self._serving)
            for each in serving:
                each.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            with contextlib.suppress(OSError):
                await self._pass_on(reader, writer)
        finally:
            _reset(writer)
            self._serving.discard(serving)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._forgotten[to_upstream] = None
        pumps = [
            asyncio.create_task(self._pump(reader, to_upstream, "to server")),
            asyncio.create_task(self._pump(upstream, writer, "to client")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            _reset(to_upstream)
            del self._forgotten[to_upstream]
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Pass bytes on until there are no more, or there was a cut."""
        while content := await reader.read(_CHUNK):
            manner = self._forgotten.get(writer)
            if manner is not None:
                self.swallowed += 1
                if manner == "with a reset":
                    return
                continue
            if direction == "to client":
                await self._answering.wait()
                await asyncio.sleep(self.latency)
            left = self._left.get(direction)
            passing = content if left is None else content[:left]
            writer.write(passing)
            await writer.drain()
            self.passed[direction] += len(passing)
            if left is not None:
                self._left[direction] = left - len(passing)
                if left <= len(content):
                    self.resets += 1
                    self._arm(direction)
                    return

    def _arm(self, direction: Direction) -> None:
        for number in itertools.islice(self._cuts[direction], 1):
            self._left[direction] = number
            return
        self._left.pop(direction, None)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    # It may have been closed from the other side already.
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
