"""Refusals that arrive one after the other, for one token."""

from __future__ import annotations

import contextlib

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest


if TYPE_CHECKING:
    from taxizer_async import TaxizerAuth
    from taxizer_async.testing import Sandbox


PATHS = [f"/v1/Part{number}" for number in range(5)]


@pytest.mark.report(18)
async def test_staggered_refusals_spend_one_refresh_token(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """Twenty calls whose 401s for one token come in five waves cost one refresh, and no reuse."""
    await auth.token()
    answers: list[int] = []

    async def send(path: str) -> None:
        answers.append((await client.post(path, json={})).status_code)

    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with contextlib.ExitStack() as gates:
            waves = [gates.enter_context(sandbox.hold(path)) for path in PATHS]
            async with anyio.create_task_group() as tasks:
                for path in PATHS:
                    for _ in range(4):
                        tasks.start_soon(send, path)
                for wave in waves:
                    await wave.wait_until_async(4)
                sandbox.revoke()
                for number, wave in enumerate(waves, 1):
                    wave.release()
                    await sandbox.wait_until_async(
                        lambda counters: counters.resources_ok >= 4 * number  # noqa: B023
                    )

    assert answers == [200] * 20
    assert sandbox.counters.unauthorized == 20
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0
