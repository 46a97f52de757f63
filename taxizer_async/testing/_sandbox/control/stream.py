"""
The events of a sandbox as server-sent events, until the reader or the server goes.

A reader that is slow is written to only as fast as it reads; what is dropped meanwhile is counted for it.
"""

from __future__ import annotations

import json
import time

from typing import Final, final

from taxizer_async.testing._sandbox.control.state import read_state
from taxizer_async.testing._sandbox.events import Batch
from taxizer_async.testing._sandbox.gate import first_of
from taxizer_async.testing._sandbox.messages import Answer, Headers, Request
from taxizer_async.testing._sandbox.parts import Parts


#: Seconds between two batches, between two states, and until a sign of life.
_PAUSE: Final = 0.05
_STATE_EVERY: Final = 1.0
_QUIET: Final = 15.0

#: Milliseconds after which a browser that lost the stream comes back.
_RETRY: Final = 1_000

#: What the API is asked; all others are acts of control, after which the state is told at once.
_TRAFFIC: Final = frozenset({"login", "renewal", "unauthorized", "request"})


@final
class Stream:
    def __init__(self, request: Request, parts: Parts) -> None:
        self._request = request
        self._lost = request.connection.lost
        self._parts = parts
        self._events = parts.events
        self._seen = self._start()
        self._told: dict[str, object] = {}
        self._state_at = 0.0
        self._sent_at = 0.0

    async def serve(self, headers: Headers) -> None:
        """Send until the connection is lost."""
        answer = Answer(200, ((b"content-type", b"text/event-stream"), *headers), endless=True)
        await self._request.send_head(answer, None)
        await self._send(f"retry: {_RETRY}\n\n{self._state_frame()}")
        while not self._lost.is_set():
            batch = self._events.after(self._seen)
            await self._send(self._frames(batch))
            await first_of(self._lost.wait(), seconds=_PAUSE)
            left = self._state_at + _STATE_EVERY - time.monotonic()
            await first_of(batch.news.wait(), self._lost.wait(), seconds=max(left, 0.0))

    def _start(self) -> int:
        last = self._request.values(b"last-event-id")
        number = self._events.number_of(last[0]) if last else None
        return self._events.oldest if number is None else number

    def _frames(self, batch: Batch) -> str:
        frames = [_frame("dropped", {"events": batch.missed})] if batch.missed else []
        for event in batch.events:
            self._seen = event.number
            frames.append(_frame(event.kind, event.fields, self._events.id_of(event.number)))
        acted = any(event.kind not in _TRAFFIC for event in batch.events)
        if acted or time.monotonic() >= self._state_at + _STATE_EVERY:
            frames.append(self._state_frame())
        return "".join(frames)

    def _state_frame(self) -> str:
        """Return the state, if it is another than the reader knows."""
        self._state_at = time.monotonic()
        state = read_state(self._parts)
        rest = {name: value for name, value in state.items() if name != "at"}
        if rest == self._told:
            return ""
        self._told = rest
        return _frame("state", state)

    async def _send(self, frames: str) -> None:
        now = time.monotonic()
        if frames or now >= self._sent_at + _QUIET:
            self._sent_at = now
            await self._request.send_body((frames or ": quiet\n\n").encode(), more=True)


def _frame(kind: str, data: object, event_id: str | None = None) -> str:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"
