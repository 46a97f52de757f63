"""A server that sends exact bytes, for answers that no HTTP library would give."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import threading

from collections.abc import Callable
from typing import Final, Self, final

import anyio.to_thread


#: The steps taken on a connection after its request was read; then it is closed.
Script = tuple["bytes | Callable[[RawServer, socket.socket], None]", ...]
#: Start a server with these scripts, for as long as the test lasts.
Serve = Callable[..., "RawServer"]


def reset(_: RawServer, peer: socket.socket) -> None:
    """Abort the connection (RST)."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang(_: RawServer, peer: socket.socket) -> None:
    """Do nothing until the client disconnects."""
    with contextlib.suppress(OSError):
        while peer.recv(1024):
            pass


def trickle(server: RawServer, peer: socket.socket) -> None:
    """Send a space every 10 ms until the client disconnects."""
    with contextlib.suppress(OSError):
        while not server.stopping.wait(0.01):
            peer.sendall(b" ")


def flood(server: RawServer, peer: socket.socket) -> None:
    """Send spaces as fast as possible until the client disconnects."""
    with contextlib.suppress(OSError):
        while not server.stopping.is_set():
            peer.sendall(b" " * 65536)
            server.flooded += 65536


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a complete response with *body*."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@final
class RawServer:
    """
    Reads one request per connection and runs the next of *scripts*; the last one stays.

    Args:
        scripts: What to do.
        tls: Of a server; None for plain HTTP.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts: Final = itertools.chain(scripts, itertools.repeat(scripts[-1]))
        self._tls: Final = tls
        self._listener: Final = socket.create_server(("127.0.0.1", 0))
        self._peers: Final[list[socket.socket]] = []
        self._threads: Final[list[threading.Thread]] = []
        self._changed: Final = threading.Condition()
        self.port: Final[int] = self._listener.getsockname()[1]
        self.stopping: Final = threading.Event()
        #: The requests received, complete and in order.
        self.requests: Final[list[bytes]] = []
        #: Bytes that a `flood` has sent.
        self.flooded = 0

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for one in (self._listener, *self._peers):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until *count* requests have been received."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: len(self.requests) >= count, 10)

        assert await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._peers.append(peer)
                self._start(self._serve, peer)

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._peers.append(peer)
            with peer:
                self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        request = read_request(peer)
        if not request:
            return
        with self._changed:
            script = next(self._scripts)
            self.requests.append(request)
            self._changed.notify_all()
        for step in script:
            if isinstance(step, bytes):
                peer.sendall(step)
            else:
                step(self, peer)


def read_request(peer: socket.socket) -> bytes:
    """Read one complete request; return nothing if the client disconnects before its end."""
    head, separator, body = b"", b"", b""
    while not separator:
        more = peer.recv(65536)
        if not more:
            return b""
        head, separator, body = (head + more).partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        more = peer.recv(65536)
        if not more:
            return b""
        body += more
    return head + separator + body
