"""
A service for gunicorn. With `--preload` its auth is made before the workers are forked, else in each worker.

With `WARM` in the environment the auth has a token by then.
"""

from __future__ import annotations

import os

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx

from fastapi import FastAPI

from taxizer_async import Credentials, RenewalPolicy, TaxizerAuth
from tests.integrations.python.life import PATH, make_store


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


AUTH = TaxizerAuth(
    Credentials.from_env,
    base_url=os.environ["TAXIZER_BASE_URL"],
    store=make_store(),
    # On a machine that is busy workers take long to start, and an answer is held back meanwhile.
    policy=RenewalPolicy(attempt_timeout=60.0, exchange_timeout=90.0, store_timeout=20.0),
)
if os.environ.get("WARM"):
    AUTH.sync_token()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the token fresh while the worker runs."""
    async with (
        httpx.AsyncClient(auth=AUTH, base_url=AUTH.base_url, timeout=60) as app.state.client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(AUTH.keep_fresh)
        yield
        tasks.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/invoices")
async def submit() -> dict[str, int]:
    """Send a request; return its status, and which process sent it."""
    answer = await app.state.client.post(PATH, json={})
    return {"status": answer.status_code, "worker": os.getpid()}
