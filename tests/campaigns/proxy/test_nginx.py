"""Each fault does to connections what its name says; where there is no nginx, only `nox -s proxy` shows it."""

from __future__ import annotations

import socket
import socketserver
import threading
import time

from typing import TYPE_CHECKING

import pytest

from tests.campaigns.proxy.nginx import Nginx, find_nginx
from tests.support.limits import HANG
from tests.support.server_process import attempts


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.skipif(find_nginx() is None, reason="there is no nginx for streams")

CONTENT = b"0123456789" * 40


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        connection: socket.socket = self.request
        while content := connection.recv(65_536):
            connection.sendall(content)


@pytest.fixture(name="nginx")
def _nginx(tmp_path: Path) -> Iterator[Nginx]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        port: int = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Nginx(tmp_path, {"sick": port, "well": port}) as nginx:
            yield nginx
        server.shutdown()
        thread.join()


def connect(nginx: Nginx, name: str = "sick") -> socket.socket:
    return socket.create_connection(("127.0.0.1", nginx.ports[name]), timeout=HANG)


def trip(connection: socket.socket) -> float:
    """Return the seconds until all content was back."""
    began = time.monotonic()
    connection.sendall(CONTENT)
    back = b""
    while len(back) < len(CONTENT):
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionAbortedError
        back += piece
    assert back == CONTENT
    return time.monotonic() - began


@pytest.mark.parametrize(("fault", "least"), [("latency", 0.6), ("1 kB/s", 0.4)])
def test_a_delay_begins_and_ends_on_open_connections(
    nginx: Nginx, fault: str, least: float
) -> None:
    """A connection that is open slows down when the fault begins, and no other path does."""
    with connect(nginx) as sick, connect(nginx, "well") as well:
        trip(sick)
        nginx.break_path("sick", fault)
        assert trip(sick) >= least
        assert trip(well) < least
        nginx.heal()
        assert trip(sick) < least


def test_jitter_keeps_the_order(nginx: Nginx) -> None:
    """Pieces are late by different times, and arrive in their order."""
    nginx.break_path("sick", "jitter")
    with connect(nginx) as sick:
        assert trip(sick) > 0.01


def test_resets_reach_the_client(nginx: Nginx) -> None:
    """Some connections end with a reset, some between two pieces."""
    nginx.break_path("sick", "resets")
    seen: set[type[BaseException]] = set()
    for _ in attempts():
        with connect(nginx) as sick:
            try:
                trip(sick)
            except ConnectionError as error:
                seen.add(type(error))
        if {ConnectionResetError, ConnectionAbortedError} <= seen:
            break


def test_a_half_open_connection_stays_lost(nginx: Nginx) -> None:
    """Nothing passes on a connection that was used in the fault, ever again; a new one is well."""
    with connect(nginx) as lost:
        trip(lost)
        nginx.break_path("sick", "half-open")
        lost.sendall(CONTENT)
        lost.settimeout(0.3)
        with pytest.raises(TimeoutError):
            lost.recv(1)
        nginx.heal()
        with pytest.raises(TimeoutError):
            trip(lost)
        with connect(nginx) as new:
            trip(new)
