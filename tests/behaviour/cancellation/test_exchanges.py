"""The two calls for a token are cancelled at each checkpoint: they end at once and leave nothing open."""

from __future__ import annotations

import itertools

from typing import Self

import anyio
import httpx
import pytest

from taxizer_async._core.exchange import Issued, Outcome, Refused
from taxizer_async.testing import Fault, Sandbox
from tests.behaviour.cancellation.ways import WAY_NAMES, WAYS, Way
from tests.support.limits import HANG
from tests.support.token_calls import Asker


@pytest.mark.invariant(5)
@pytest.mark.parametrize("call", ["connect", "connect-again", "refresh"])
@pytest.mark.parametrize(("anyio_backend", "way"), WAYS, ids=WAY_NAMES)
async def test_a_call_can_be_cancelled_wherever_it_waits(
    sandbox: Sandbox, way: Way, call: str
) -> None:
    """Cancelled at its k-th wait, for each k, a call ends as cancelled or with its whole outcome."""
    opened: list[httpx.AsyncClient] = []
    outcomes: list[Outcome] = []

    class Client(httpx.AsyncClient):
        async def __aenter__(self) -> Self:
            opened.append(self)
            return await super().__aenter__()

    async def ask() -> None:
        asker = Asker(sandbox.base_url, http_client=lambda: Client(verify=False))
        outcomes.append(await (asker.refresh() if call == "refresh" else asker.connect()))

    for k in itertools.count(1):
        sandbox.heal()
        if call == "connect-again":
            sandbox.fail("connect", Fault.status(503), times=1)
        outcomes.clear()
        with anyio.fail_after(HANG):
            strike = await way(ask, k)
        assert len(outcomes) == (not strike.cancelled)
        assert all(isinstance(each, Refused if call == "refresh" else Issued) for each in outcomes)
        assert all(client.is_closed for client in opened)
        if not strike.struck:
            break
    assert k - 1 >= 8


async def test_what_is_no_exception_leaves_unchanged(sandbox: Sandbox) -> None:
    """An exception that is no Exception passes through, and is not taken for a network failure."""

    class Interruption(BaseException):
        pass

    interruption = Interruption()

    def http_client() -> httpx.AsyncClient:
        raise interruption

    with pytest.raises(Interruption) as caught:
        await Asker(sandbox.base_url, http_client=http_client).connect()

    assert caught.value is interruption
