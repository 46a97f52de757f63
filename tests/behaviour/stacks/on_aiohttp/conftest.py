"""Sessions of aiohttp's, on both of its event loops."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from taxizer_async import Event, TaxizerAuth
from taxizer_async.aiohttp import TaxizerMiddleware
from taxizer_async.testing import Sandbox
from tests.behaviour.stacks.stacks import Auth
from tests.support.callers import PATH, auth_of


@pytest.fixture(name="anyio_backend", params=[False, True], ids=["asyncio", "uvloop"])
def _anyio_backend(request: pytest.FixtureRequest) -> object:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox, events: list[Event]) -> TaxizerAuth:
    return auth_of(sandbox, on_event=events.append)


def open_session(auth: Auth, **options: Any) -> aiohttp.ClientSession:
    options.setdefault("middlewares", [TaxizerMiddleware(auth)])
    options.setdefault("timeout", aiohttp.ClientTimeout(10))
    return aiohttp.ClientSession(auth.base_url, **options)


async def status_of(session: aiohttp.ClientSession, path: str = PATH, **options: Any) -> int:
    async with session.post(path, **options) as answer:
        await answer.read()
        return answer.status
