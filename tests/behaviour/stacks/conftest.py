"""The stacks, each on the event loops that it runs on, and what tests send through them."""

from __future__ import annotations

import time

from collections.abc import AsyncIterator
from typing import Final

import pytest

from taxizer_async import Event
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import PATH, gather

from .stacks import AIOHTTP, HTTPX, HTTPX2, SYNC_HTTPX, SYNC_HTTPX2, Auth, Sender, Stack


_ASYNCIO: Final = ("asyncio", {"use_uvloop": False})
_TRIO: Final[tuple[str, dict[str, bool]]] = ("trio", {})


_ASYNC: Final = [
    pytest.param((HTTPX, _ASYNCIO), id="httpx-asyncio"),
    pytest.param((HTTPX, _TRIO), id="httpx-trio"),
    pytest.param((HTTPX2, _ASYNCIO), id="httpx2-asyncio"),
    pytest.param((HTTPX2, _TRIO), id="httpx2-trio"),
    pytest.param((AIOHTTP, _ASYNCIO), id="aiohttp-asyncio"),
]
_SYNC: Final = [
    pytest.param((SYNC_HTTPX, _ASYNCIO), id="httpx-sync"),
    pytest.param((SYNC_HTTPX2, _TRIO), id="httpx2-sync"),
]

#: Marks a test whose rule is one of async requests: they are cancelled, and a 401 of theirs is read.
async_only: Final = pytest.mark.parametrize("world", _ASYNC, indirect=True)


@pytest.fixture(name="world", params=[*_ASYNC, *_SYNC])
def _world(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(name="stack")
def _stack(world: tuple[Stack, object]) -> Stack:
    return world[0]


@pytest.fixture(name="anyio_backend")
def _anyio_backend(world: tuple[Stack, object]) -> object:
    return world[1]


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    """One that moves only when the test says so."""
    return ManualClock(start=time.time())


@pytest.fixture(name="auth")
def _auth(stack: Stack, sandbox: Sandbox, events: list[Event]) -> Auth:
    return stack.make_auth(sandbox, on_event=events.append)


@pytest.fixture(name="aging_auth")
def _aging_auth(stack: Stack, sandbox: Sandbox, events: list[Event], clock: ManualClock) -> Auth:
    return stack.make_auth(sandbox, on_event=events.append, clock=clock)


@pytest.fixture(name="sender")
async def _sender(stack: Stack, auth: Auth) -> AsyncIterator[Sender]:
    async with stack.open(auth) as sender:
        yield sender


async def send_all(sender: Sender, requests: int, path: str = PATH) -> list[int]:
    """Send all at once; return the statuses."""
    replies = await gather(*[lambda: sender.send("POST", path, json={})] * requests)
    return [reply.status for reply in replies]
