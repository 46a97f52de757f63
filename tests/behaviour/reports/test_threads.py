"""Worker threads with event loops of their own, and a failure between them."""

from __future__ import annotations

import threading

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from taxizer_async import RenewalPolicy, TaxizerAuth, TokenEndpointUnavailableError
from taxizer_async.testing import Fault, ManualClock


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


PATH = "/v1/Devices/Register"


@pytest.mark.report(26)
def test_threads_outlive_a_transient_failure(
    sandbox: Sandbox, anyio_backend: tuple[str, Any]
) -> None:
    """A 503 that two threads meet is no lack of credentials: a second later both are served."""
    clock = ManualClock()
    auth = TaxizerAuth(
        sandbox.credentials,
        base_url=sandbox.base_url,
        clock=clock,
        policy=RenewalPolicy(backoff=60.0),
    )
    answers: list[int | str] = []

    async def send() -> None:
        async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
            try:
                answers.append((await client.post(PATH)).status_code)
            except TokenEndpointUnavailableError as problem:
                answers.append(f"unavailable {problem.status_code}")

    def send_in_two_threads() -> list[int | str]:
        answers.clear()
        for _ in range(2):
            thread = threading.Thread(target=anyio.run, args=(send,), kwargs={"backend": backend})
            thread.start()
            thread.join()
        return list(answers)

    backend = anyio_backend[0]
    assert send_in_two_threads() == [200, 200]
    sandbox.revoke()
    sandbox.fail("refresh", Fault.status(503), times=1)
    sandbox.fail("connect", Fault.status(503), times=1)
    assert send_in_two_threads() == ["unavailable 503"] * 2
    clock.advance(1)
    assert send_in_two_threads() == [200, 200]

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (3, 1)
