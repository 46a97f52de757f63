"""A small HTTP proxy: CONNECT tunnels and absolute-form requests."""

from __future__ import annotations

import contextlib
import socket
import threading

from typing import Final, Self, final

from tests.support.raw_server import read_request


@final
class ForwardProxy:
    """
    Forwards requests, or answers each with the status line *refusal*.

    Its `lines` are the first lines of all requests, its `heads` their headers.
    """

    def __init__(self, *, refusal: str | None = None) -> None:
        self._refusal: Final = refusal
        self._listener: Final = socket.create_server(("127.0.0.1", 0))
        self._sockets: Final[list[socket.socket]] = [self._listener]
        self._threads: Final[list[threading.Thread]] = []
        self.url: Final = "http://127.0.0.1:{1}".format(*self._listener.getsockname())
        self.lines: Final[list[str]] = []
        self.heads: Final[list[bytes]] = []

    def __enter__(self) -> Self:
        self._start(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *args: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            request = read_request(client)
            if not request:
                return
            line, _, rest = request.partition(b"\r\n")
            self.lines.append(line.decode())
            self.heads.append(rest.partition(b"\r\n\r\n")[0])
            if self._refusal:
                client.sendall(f"HTTP/1.1 {self._refusal}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            method, target, _ = line.decode().split(" ")
            authority = target if method == "CONNECT" else target.split("/")[2]
            host, _, port = authority.rpartition(":")
            server = socket.create_connection((host, int(port)))
            self._sockets.append(server)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.split("/", 3)[3]
                server.sendall(f"{method} /{path} HTTP/1.1\r\n".encode() + rest)
            self._start(_pump, server, client)
            _pump(client, server)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
