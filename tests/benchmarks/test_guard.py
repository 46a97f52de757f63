"""
What a fresh token may cost, held by counts that are the same on each run: no time is measured.

Ratios to httpx's documented static header, as the numbers themselves change with Python and httpx.
"""

from __future__ import annotations

import sys

from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from benchmarks.bench import undisturbed
from taxizer_async import TaxizerAuth
from taxizer_async.testing import Sandbox


#: Times what the static header executes: it was 1.2 of both when this was written.
MOST = 1.4
PATH = "/v1/Invoices"


class StaticHeader(httpx.Auth):
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = "Bearer static"
        yield request


@pytest.fixture(name="auth")
async def _auth(sandbox: Sandbox) -> TaxizerAuth:
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    await auth.token()
    return auth


async def drive(auth: httpx.Auth, response: httpx.Response) -> None:
    """Do what `httpx.AsyncClient._send_handling_auth` does, with a canned *response*."""
    flow = auth.async_auth_flow(response.request)
    try:
        await anext(flow)
        await flow.asend(response)
    except StopAsyncIteration:
        return
    finally:
        await flow.aclose()


async def drive_sync(auth: httpx.Auth, response: httpx.Response) -> None:
    """Do what `httpx.Client._send_handling_auth` does."""
    flow = auth.sync_auth_flow(response.request)
    try:
        next(flow)
        flow.send(response)
    except StopIteration:
        return
    finally:
        flow.close()


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* to its end without an event loop: it may not wait for anything."""
    try:
        waited_for = work.send(None)
    except StopIteration:
        return
    work.close()
    pytest.fail(f"it waited for {waited_for!r}")


def counted_opcodes(work: Coroutine[Any, Any, None]) -> int:
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts[event] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        finish(work)
    finally:
        sys.settrace(before)
    return counts["opcode"]


def counted_calls(work: Coroutine[Any, Any, None]) -> int:
    counts: Counter[str] = Counter()

    def note(_: FrameType, event: str, __: object) -> None:
        counts[event] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        finish(work)
    finally:
        sys.setprofile(before)
    return counts["call"] + counts["c_call"]


async def take(lock: anyio.Lock) -> None:
    async with lock:
        pass


def settled(
    count: Callable[[Coroutine[Any, Any, None]], int], make: Callable[[], Coroutine[Any, Any, None]]
) -> int:
    """Return the second of two counts: Python may begin to trace a function at its second call only."""
    # A finaliser of other garbage would be counted, too.
    with undisturbed():
        count(make())
        return count(make())


COUNTS = pytest.mark.parametrize("count", [counted_opcodes, counted_calls])


@pytest.fixture(name="response")
def _response(sandbox: Sandbox) -> httpx.Response:
    request = httpx.Request("POST", f"{sandbox.base_url}{PATH}", json={"number": "INV-1"})
    return httpx.Response(200, request=request)


@COUNTS
async def test_a_fresh_token_costs_little_more_than_a_static_header(
    count: Callable[[Coroutine[Any, Any, None]], int], auth: TaxizerAuth, response: httpx.Response
) -> None:
    """Instructions of Python, and calls of functions: at most 40 % more."""
    finish(drive(auth, response))  # the first answer is noted, once

    own = settled(count, lambda: drive(auth, response))
    floor = settled(count, lambda: drive(StaticHeader(), response))

    assert own <= MOST * floor


@COUNTS
async def test_a_fresh_token_costs_a_sync_request_as_little(
    count: Callable[[Coroutine[Any, Any, None]], int], auth: TaxizerAuth, response: httpx.Response
) -> None:
    """The same bound as for async requests, on `httpx.Client`."""

    def unsent() -> httpx.Response:
        request = httpx.Request("POST", f"{auth.base_url}{PATH}", content=b"{}")
        return httpx.Response(200, request=request)

    finish(drive(auth, response))
    found = []
    for each in (auth, StaticHeader()):
        answers = [unsent(), unsent()]
        found.append(settled(count, lambda: drive_sync(each, answers.pop())))  # noqa: B023

    assert found[0] <= MOST * found[1]


@COUNTS
async def test_a_lock_would_be_noticed(
    count: Callable[[Coroutine[Any, Any, None]], int], auth: TaxizerAuth, response: httpx.Response
) -> None:
    """Even one that is free, and taken without waiting."""
    finish(drive(auth, response))

    own = settled(count, lambda: drive(auth, response))
    floor = settled(count, lambda: drive(StaticHeader(), response))
    lock = settled(count, lambda: take(anyio.Lock(fast_acquire=True)))

    assert own + lock > MOST * floor


async def test_a_wait_would_be_noticed() -> None:
    """What gives others a turn does not finish here."""
    with pytest.raises(pytest.fail.Exception, match="it waited for"):
        finish(anyio.lowlevel.checkpoint())


async def test_a_count_is_the_same_each_time(auth: TaxizerAuth, response: httpx.Response) -> None:
    """So the bound can't fail by chance."""
    finish(drive(auth, response))

    assert len({settled(counted_opcodes, lambda: drive(auth, response)) for _ in range(5)}) == 1
