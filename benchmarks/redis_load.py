"""What one Redis serves, and what it has served."""

from __future__ import annotations

import re
import socket
import time

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from taxizer_async.stores import StoreKey
from taxizer_async.stores import redis as redis_store


if TYPE_CHECKING:
    from taxizer_async._cli.demo.redis_server import RedisServer


#: Connections that look at the same time.
CONNECTIONS: Final = 200
#: What a record and a failure have, roughly, in bytes.
_RECORD: Final = 1_200
_LONGEST_ANSWER: Final = 65_536


def count_commands(server: RedisServer) -> int:
    """Return how many commands clients have sent for stores; those within scripts are not counted."""
    answer = server.ask("INFO commandstats").decode()
    return sum(
        int(calls) for calls in re.findall(r"^cmdstat_eval:calls=(\d+)", answer, re.MULTILINE)
    )


def looks_per_second(server: RedisServer, *, seconds: float) -> float:
    """Return how many looks *server* serves per second to as many as send the next one when it has answered."""
    lease, record, failure = redis_store._keys("", StoreKey("https://api.test", "the-app"))  # noqa: SLF001
    look = _command("EVAL", redis_store._LOOK, "3", lease, record, failure)  # noqa: SLF001
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(CONNECTIONS)
        ]
        _ask(connections[:1], _command("SET", record, "x" * _RECORD, "EX", "3600"))
        began, rounds = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            _ask(connections, look)
            rounds += 1
        return rounds * len(connections) / (time.monotonic() - began)


def _ask(connections: list[socket.socket], command: bytes) -> None:
    for connection in connections:
        connection.sendall(command)
    for connection in connections:
        connection.recv(_LONGEST_ANSWER)


def _command(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
    return "".join(parts).encode()
