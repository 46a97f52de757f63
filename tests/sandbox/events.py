"""Reads a sandbox's stream of events from its socket."""

from __future__ import annotations

import contextlib
import json

from collections.abc import AsyncGenerator
from typing import Any, final

import anyio
import attrs

from anyio.streams.buffered import BufferedByteReceiveStream

from taxizer_async.testing import Sandbox
from tests.support.limits import HANG


EVENTS = "/_sandbox/events"

#: The most bytes of a frame.
_FRAME = 100_000


@final
@attrs.frozen
class Frame:
    kind: str
    data: dict[str, Any]
    id: str | None


@final
class Follower:
    """A reader of events; *status* is that of the answer."""

    def __init__(self, buffer: BufferedByteReceiveStream, status: int) -> None:
        self._buffer = buffer
        self.status = status

    async def next(self) -> Frame:
        """Return the next frame with an event."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.block()).splitlines())
            if "event" in fields:
                return Frame(fields["event"], json.loads(fields["data"]), fields.get("id"))

    async def block(self) -> str:
        """Return the next lines up to an empty one."""
        with anyio.fail_after(HANG):
            return (await self._buffer.receive_until(b"\n\n", _FRAME)).decode()

    async def until(self, kind: str) -> list[Frame]:
        """Read up to the first frame of *kind*; leave states out, unless they are asked for."""
        frames: list[Frame] = []
        while True:
            frame = await self.next()
            if kind == "state" or frame.kind != "state":
                frames.append(frame)
            if frame.kind == kind:
                return frames


@contextlib.asynccontextmanager
async def following(sandbox: Sandbox, last_id: str | None = None) -> AsyncGenerator[Follower]:
    """Follow the events, after those up to *last_id* if it is given."""
    # HTTP/1.0 has no chunks.
    head = f"GET {EVENTS} HTTP/1.0\r\nHost: 127.0.0.1\r\n"
    if last_id is not None:
        head += f"Last-Event-ID: {last_id}\r\n"
    async with await anyio.connect_tcp("127.0.0.1", sandbox.port) as stream:
        await stream.send(f"{head}\r\n".encode())
        buffer = BufferedByteReceiveStream(stream)
        answer = await buffer.receive_until(b"\r\n\r\n", _FRAME)
        yield Follower(buffer, int(answer.split()[1]))
