"""
The ASGI application of a sandbox: a request's way through gates, latency, faults and endpoints.

A request is logged before its answer leaves, so that a client that has its answer finds it counted.
"""

from __future__ import annotations

import asyncio
import time

from functools import partial
from typing import TYPE_CHECKING, Final, final

from taxizer_async.testing._sandbox.endpoints import Endpoints
from taxizer_async.testing._sandbox.gate import first_of
from taxizer_async.testing._sandbox.messages import Answer, Request, answer_fault


if TYPE_CHECKING:
    from collections.abc import Mapping

    from taxizer_async.testing._sandbox.faults import Fault, FaultPlan
    from taxizer_async.testing._sandbox.gate import Signal
    from taxizer_async.testing._sandbox.recorder import Recorder
    from taxizer_async.testing._sandbox.server import Receive, Send
    from taxizer_async.testing._sandbox.tokens import Settings, TokenIssuer


#: Seconds between the chunks of an endless body.
_CHUNK_PAUSE: Final = 0.05


@final
class SandboxApp:
    """Serves the contract; an ASGI application."""

    def __init__(
        self, settings: Settings, recorder: Recorder, issuer: TokenIssuer, fault_plan: FaultPlan
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._issuer = issuer
        self._endpoints = Endpoints(settings, issuer)
        self._fault_plan = fault_plan

    async def __call__(self, scope: Mapping[str, object], receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive, send)
        self._recorder.arrive(request.record)
        try:
            with request.connection.watched(partial(self._recorder.leave, request.record)):
                await self._handle(request)
        except asyncio.CancelledError:
            # The server stops; uvicorn would log this as a failure of the app.
            return
        finally:
            self._finish(request, None)

    async def _handle(self, request: Request) -> None:
        record = request.record
        if not await request.read():
            return
        for gate in self._fault_plan.gates(record.group, record.path):
            await gate.hold(request.connection)
        latency = self._latency(record.group)
        if latency > 0:
            await asyncio.sleep(latency)
        claimed = self._fault_plan.claim(record.group, record.path)
        if claimed is None:
            await self._process(request)
        else:
            await self._fail(request, *claimed)

    async def _process(self, request: Request) -> None:
        answer = self._endpoints.answer(request)
        self._finish(request, answer)
        await self._send(request, answer)

    async def _fail(self, request: Request, fault: Fault, healed: Signal) -> None:
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
        settings = self._settings
        date = time.time() + settings.clock_offset if settings.send_date else None
        await request.send_head(answer, date)

    def _finish(self, request: Request, answer: Answer | None, *, processed: bool = True) -> None:
        self._recorder.finish(
            request.record,
            None if answer is None else answer.status,
            accepted=processed and answer is not None and answer.ok,
            jwt_id=self._issuer.jwt_number(request.bearer),
            body=request.body,
        )

    def _latency(self, group: str) -> float:
        if group == "resource":
            return self._settings.resource_latency
        if group == "connect":
            return self._settings.connect_latency
        return self._settings.refresh_latency
