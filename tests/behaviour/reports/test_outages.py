"""An outage is no refusal: nothing is thrown away for it, and nobody has to mend anything after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from taxizer_async import RenewalPolicy, TaxizerAuth, TokenEndpointUnavailableError
from taxizer_async.testing import Fault, ManualClock


if TYPE_CHECKING:
    from taxizer_async.testing import Sandbox


PATH = "/v1/Devices/Register"
LIFETIME = 900.0
HASTY = RenewalPolicy(backoff=60.0)
#: For what hangs; the login after it has to be done in this time, too.
HASTIER = RenewalPolicy(backoff=60.0, attempt_timeout=1.0)


@pytest.mark.report(47)
@pytest.mark.parametrize("state", ["revoked", "expired"])
@pytest.mark.parametrize("status", [429, None], ids=["429", "down"])
async def test_a_refresh_token_outlives_an_outage(
    sandbox: Sandbox, clock: ManualClock, status: int | None, state: str
) -> None:
    """After an outage in which it certainly did not arrive, the refresh token is what is sent."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, policy=HASTY)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        assert (await client.post(PATH)).status_code == 200
        if state == "revoked":
            sandbox.revoke()
        else:
            clock.advance(LIFETIME + 1)
        if status is None:
            sandbox.stop()
        else:
            sandbox.fail("refresh", Fault.status(status))
            sandbox.fail("connect", Fault.status(status))
        for _ in range(5):
            if status is not None or state == "expired":
                assert await _is_unavailable(client)
            clock.advance(61)
        if status is None:
            sandbox.start()
        sandbox.heal()
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes_ok) == (1, 1)


@pytest.mark.report(47)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.reset(), id="reset"),
        pytest.param(Fault.hang(), id="hang", marks=pytest.mark.slow),
        pytest.param(Fault.drop_after_processing(), id="drop_after_processing"),
    ],
)
async def test_credentials_outlive_an_outage(
    sandbox: Sandbox, clock: ManualClock, fault: Fault
) -> None:
    """After an outage in which the refresh token may have been taken, one login is enough."""
    policy = HASTIER if fault == Fault.hang() else HASTY
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, clock=clock, policy=policy)
    await auth.token()
    clock.advance(LIFETIME + 1)
    sandbox.fail("refresh", fault)
    sandbox.fail("connect", fault)
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        for _ in range(3):
            assert await _is_unavailable(client)
            clock.advance(60)
        sandbox.heal()
        sandbox.reset_counters()
        assert (await client.post(PATH)).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 0)
    assert sandbox.counters.reuses == 0


async def _is_unavailable(client: httpx.AsyncClient) -> bool:
    with pytest.raises(TokenEndpointUnavailableError):
        await client.post(PATH)
    return True
