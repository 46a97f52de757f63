"""Clocks that a user's test has frozen or moved, by freezegun or time-machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import time_machine

from freezegun import freeze_time

from taxizer_async import ConfigurationError, TaxizerAuth
from taxizer_async._core.clock import SystemClock
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import auth_of
from tests.support.scripted_store import ScriptedStore


LONG_AGO = "2020-01-01"
#: What users write; the first of them freezes the event loop's clock, too.
FREEZERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "freezegun": lambda: freeze_time(LONG_AGO),
    "freezegun, tick": lambda: freeze_time(LONG_AGO, tick=True),
    "time-machine": lambda: time_machine.travel(LONG_AGO, tick=False),
}
on_both_loops = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def renew(sandbox: Sandbox, auth: TaxizerAuth) -> int:
    """Log in, and have the token renewed after a revocation; return the status of the request."""
    await auth.token()
    sandbox.revoke()
    async with httpx.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        answer = await client.get("/v1/x")
    await auth.events_delivered()
    return answer.status_code


@on_both_loops
@pytest.mark.parametrize("freezer", FREEZERS)
def test_a_frozen_clock_costs_nothing(sandbox: Sandbox, backend: str, freezer: str) -> None:
    """Under a frozen clock a login and a renewal are one exchange each, and nothing hangs."""
    with FREEZERS[freezer]():
        status = anyio.run(renew, sandbox, auth_of(sandbox), backend=backend)

    assert status == 200
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@on_both_loops
@pytest.mark.parametrize("freezer", FREEZERS)
def test_a_token_does_not_age_with_a_clock_that_is_moved(
    sandbox: Sandbox, backend: str, freezer: str
) -> None:
    """A day later by the frozen clock the token is still fresh."""

    async def use_twice(moment: Any) -> None:
        auth = auth_of(sandbox)
        await auth.token()
        move = moment.tick if hasattr(moment, "tick") else moment.shift
        move(timedelta(days=1))
        await auth.token()
        assert auth.status().usable

    with FREEZERS[freezer]() as moment:
        anyio.run(use_twice, moment, backend=backend)

    assert sandbox.counters.exchanges == 1


@pytest.fixture(name="no_sleep")
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a pause fail, as it would never end."""

    async def sleep(_: object, seconds: float) -> None:
        pytest.fail(f"it pauses for {seconds} s on a frozen clock")

    monkeypatch.setattr(SystemClock, "sleep", sleep)


@on_both_loops
@pytest.mark.parametrize("freezer", [name for name in FREEZERS if name != "freezegun"])
def test_a_login_is_tried_again_where_the_loops_clock_goes_on(
    sandbox: Sandbox, backend: str, freezer: str
) -> None:
    """A frozen wall clock keeps no login from its second try."""
    sandbox.fail("connect", Fault.status(503), times=1)
    with FREEZERS[freezer]():
        anyio.run(auth_of(sandbox).token, backend=backend)

    assert sandbox.counters.connects == 2


@on_both_loops
@pytest.mark.usefixtures("no_sleep")
def test_a_pause_that_would_never_end_is_refused(sandbox: Sandbox, backend: str) -> None:
    """Where the event loop's clock is frozen, a login that has to be tried again fails, and says why."""
    sandbox.fail("connect", Fault.status(503), times=1)
    expected = pytest.raises(ConfigurationError, match=r"clock is frozen.*tick=True.*ManualClock")
    with freeze_time(LONG_AGO), expected:
        anyio.run(auth_of(sandbox).token, backend=backend)


@on_both_loops
@pytest.mark.usefixtures("no_sleep")
def test_a_wait_for_others_that_would_never_end_is_refused(sandbox: Sandbox, backend: str) -> None:
    """So does one that has to wait for another client of the store."""

    async def wait() -> None:
        store = ScriptedStore(ManualClock())
        store.busy = True
        await auth_of(sandbox, store=store).token()

    with freeze_time(LONG_AGO), pytest.raises(ConfigurationError, match="clock is frozen"):
        anyio.run(wait, backend=backend)


@on_both_loops
def test_keep_fresh_sleeps_while_time_stands_still(sandbox: Sandbox, backend: str) -> None:
    """Under a frozen clock keep_fresh logs in, and raises nothing while it waits."""

    async def keep() -> None:
        auth = auth_of(sandbox)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(auth.keep_fresh)
            await sandbox.wait_until_async(lambda seen: seen.connects_ok == 1)
            await auth.token()
            for _ in range(20):
                # anyio's own wait for idle tasks sleeps on the frozen clock.
                await anyio.lowlevel.checkpoint()
            assert auth.status().keep_fresh_running
            tasks.cancel_scope.cancel()

    with freeze_time(LONG_AGO):
        anyio.run(keep, backend=backend)
