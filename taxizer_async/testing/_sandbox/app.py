"""
The ASGI application of a sandbox: a request's way through gates, latency, faults and endpoints.

A request is logged before its answer leaves, so that a client that has its answer finds it counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final, final

from taxizer_async.testing._sandbox.connection import Receive, Send
from taxizer_async.testing._sandbox.control.control import Control, is_control
from taxizer_async.testing._sandbox.endpoints import Endpoints
from taxizer_async.testing._sandbox.faults import Fault
from taxizer_async.testing._sandbox.gate import Signal, first_of
from taxizer_async.testing._sandbox.messages import Answer, Request, answer_fault
from taxizer_async.testing._sandbox.parts import Parts
from taxizer_async.testing._sandbox.recorder import Group


#: Seconds between the chunks of an endless body.
_CHUNK_PAUSE: Final = 0.05

#: The most characters of a path in an event.
_PATH_LENGTH: Final = 200


@final
class SandboxApp:
    """Serves the contract; an ASGI application."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._endpoints = Endpoints(parts.sandbox, parts.issuer)
        self._control = Control(parts)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        serve = self._control.serve if is_control(request.record.path) else self._serve
        # The server stops; uvicorn would log this as a failure of the app.
        with contextlib.suppress(asyncio.CancelledError):
            await serve(request)

    async def _serve(self, request: Request) -> None:
        self._parts.recorder.arrive(request.record)
        try:
            with request.connection.watched(partial(self._parts.recorder.leave, request.record)):
                await self._handle(request)
        finally:
            self._finish(request, None)

    async def _handle(self, request: Request) -> None:
        record = request.record
        if not await request.read():
            return
        for gate in self._parts.fault_plan.gates(record.group, record.path):
            await gate.hold(request.connection)
        latency = self._latency(record.group)
        if latency > 0:
            await asyncio.sleep(latency)
        claimed = self._parts.fault_plan.claim(record.group, record.path)
        if claimed is None:
            await self._process(request)
        else:
            await self._fail(request, *claimed)

    async def _process(self, request: Request) -> None:
        answer = self._endpoints.answer(request)
        self._finish(request, answer)
        await self._send(request, answer)

    async def _fail(self, request: Request, fault: Fault, healed: Signal) -> None:
        request.record.fault = fault.kind
        if fault.kind == "reset":
            self._finish(request, None)
            await request.connection.reset()
        elif fault.kind == "answer":
            answer = answer_fault(fault)
            self._finish(request, answer, processed=False)
            await self._send(request, answer)
        elif fault.kind == "hang":
            await self._hang(request, fault, healed)
        else:
            await self._spoil(request, fault)

    async def _hang(self, request: Request, fault: Fault, healed: Signal) -> None:
        lost = request.connection.lost
        with request.connection.watched(partial(self._finish, request, None)):
            await first_of(healed.wait(), lost.wait(), seconds=fault.seconds)
        if not lost.is_set():
            await self._process(request)

    async def _spoil(self, request: Request, fault: Fault) -> None:
        answer = self._endpoints.answer(request)
        self._finish(request, answer)
        if fault.kind == "drop":
            await request.connection.reset()
        elif fault.kind == "edit":
            await self._send(request, answer.edited(fault.fields))
        else:
            await self._send_head(request, answer)
            await request.send_body(answer.body[: len(answer.body) // 2], more=True)
            await request.connection.close()

    async def _send(self, request: Request, answer: Answer) -> None:
        await self._send_head(request, answer)
        if not answer.endless:
            await request.send_body(answer.body)
            return
        lost = request.connection.lost
        while not lost.is_set():
            await request.send_body(b"chunk\n", more=True)
            await first_of(lost.wait(), seconds=_CHUNK_PAUSE)

    async def _send_head(self, request: Request, answer: Answer) -> None:
        settings = self._parts.sandbox
        date = time.time() + settings.clock_offset if settings.send_date else None
        await request.send_head(answer, date)

    def _finish(self, request: Request, answer: Answer | None, *, processed: bool = True) -> None:
        record = request.record
        status = None if answer is None else answer.status
        accepted = processed and answer is not None and answer.ok
        jwt_id = self._parts.issuer.jwt_number(request.bearer)
        if self._parts.recorder.finish(
            record, status, accepted=accepted, jwt_id=jwt_id, body=request.body
        ):
            issued = (
                self._parts.issuer.newest() if accepted and record.group != "resource" else None
            )
            self._parts.events.add(
                _kind(record.group, status),
                method=record.method,
                path=record.path[:_PATH_LENGTH],
                status=status,
                ok=accepted,
                seconds=round(time.monotonic() - record.started_at, 4),
                fault=record.fault,
                token=jwt_id if issued is None else issued.number,
                ends_at=None if issued is None else issued.ends_at,
            )

    def _latency(self, group: str) -> float:
        if group == "resource":
            return self._parts.sandbox.resource_latency
        if group == "connect":
            return self._parts.sandbox.connect_latency
        return self._parts.sandbox.refresh_latency


def _kind(group: Group, status: int | None) -> str:
    if group == "resource":
        return "unauthorized" if status == HTTPStatus.UNAUTHORIZED else "request"
    return "login" if group == "connect" else "renewal"
