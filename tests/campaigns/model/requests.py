"""A user's request: through the real auth flow to the modelled server."""

from __future__ import annotations

import contextlib

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx

from taxizer_async import TaxizerError
from taxizer_async._auth.bearer import UNAUTHORIZED
from tests.campaigns.model.server import BASE_URL


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.campaigns.model.simulator import Simulation
    from tests.campaigns.model.world import Call


#: Turns of the event loop that an answer takes at least.
_TURNAROUND = 3


async def run_call(simulation: Simulation, call: Call) -> None:
    """Send one request and note how it ended."""
    world = simulation.world
    world.begin_waiting(call)
    with call.scope:
        try:
            call.status = await _converse(simulation, call)
        except TaxizerError as problem:
            world.note(f"{call.process} call {call.number}: {problem}")
            # A token may have ended before its caller got it.
            covered = call.covered and call.has_token()
            call.process.watch.failed(
                problem, covered=covered, misconfigured=call.process.watch.is_misconfigured
            )
        except Exception as problem:  # noqa: BLE001 - it is what we look for
            world.violations.append(f"a raw {type(problem).__name__} reached a caller: {problem}")
        else:
            world.note(f"{call.process} call {call.number}: {call.status}")
    call.done = True


async def _converse(simulation: Simulation, call: Call) -> int:
    body: bytes | AsyncGenerator[bytes] = b"{}" if call.replayable else _stream()
    where = call.where
    first = httpx.Request(where.method, f"{BASE_URL}{where.path}?number=1", content=body)
    flow = call.process.auth.async_auth_flow(first)
    async with contextlib.aclosing(flow):
        request = await _start(simulation, call, flow)
        while True:
            sent_at = simulation.world.clock.monotonic()
            response = await _serve(simulation, call, request)
            _take(call, request, response, sent_at=sent_at)
            simulation.world.begin_waiting(call)
            try:
                request = await flow.asend(response)
            except StopAsyncIteration:
                return response.status_code


async def _start(
    simulation: Simulation, call: Call, flow: AsyncGenerator[httpx.Request, httpx.Response]
) -> httpx.Request:
    if call.process.provider.cache.fresh() is None:
        return await anext(flow)
    step = flow.asend(None)  # type: ignore[arg-type]
    try:
        step.send(None)
    except StopIteration as told:
        request: httpx.Request = told.value
        return request
    simulation.world.violations.append("a fresh token is had without waiting for anything")
    step.throw(RuntimeError)
    raise RuntimeError


async def _serve(simulation: Simulation, call: Call, request: httpx.Request) -> httpx.Response:
    world, rng = simulation.world, simulation.rng
    call.wants_token = False
    call.sends += 1
    jwt = _jwt(request)
    world.note(f"  {call.process} call {call.number} sends {jwt[-8:]}")
    call.process.watch.sending(jwt, call)
    # No answer is as fast as tasks that wake at the same moment.
    for _ in range(_TURNAROUND):
        await anyio.lowlevel.checkpoint()
    # Decided when the request arrives or when the answer leaves, so that some 401s are late.
    accepted = world.server.accepts(jwt, call.where)
    if rng.random() < 0.5:
        call.gate = anyio.Event()
        await call.gate.wait()
        call.gate = None
        if rng.random() < 0.5:
            accepted = world.server.accepts(jwt, call.where)
    status = 200 if accepted else 401
    headers = {}
    if accepted and rng.random() < 0.03:
        status, call.hoodwinked = 401, True
        if rng.random() < 0.3:
            headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    world.note(f"{call.process} call {call.number} with {jwt[-8:]} at {call.where.name}: {status}")
    return httpx.Response(status, request=request, headers=headers)


def _take(call: Call, request: httpx.Request, response: httpx.Response, *, sent_at: float) -> None:
    """Note what an answer says about the token, before the flow gets it."""
    process, jwt = call.process, _jwt(request)
    if response.status_code == UNAUTHORIZED:
        call.refused = jwt
    else:
        process.watch.evidence.accept(call.where.name, jwt, process.cached, sent_at=sent_at)


def _jwt(request: httpx.Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


async def _stream() -> AsyncGenerator[bytes]:
    yield b"{}"
