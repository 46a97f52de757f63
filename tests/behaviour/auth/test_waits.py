"""The event about callers that waited for a token."""

from __future__ import annotations

import anyio
import pytest

from taxizer_async import AuthError, Event, TaxizerAuth, TokenAwaited
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import MakeAuth
from tests.support.policies import DUE, ONE_TRY
from tests.support.refreshes import settle


def awaited(events: list[Event]) -> list[TokenAwaited]:
    return [event for event in events if isinstance(event, TokenAwaited)]


async def test_all_callers_of_one_login_are_in_one_event(
    sandbox: Sandbox, aging_auth: TaxizerAuth, events: list[Event]
) -> None:
    """One event tells of all callers of a login, with a time for each, the leader's included."""
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            for _ in range(20):
                tasks.start_soon(aging_auth.token)
            await gate.wait_until_async(1)
            await anyio.wait_all_tasks_blocked()
    await aging_auth.token()
    await aging_auth.events_delivered()

    (event,) = awaited(events)
    assert event.callers == len(event.waits) == 20
    assert min(event.waits) > 0


async def test_a_cancelled_caller_has_waited(
    sandbox: Sandbox, aging_auth: TaxizerAuth, events: list[Event]
) -> None:
    """A cancelled caller counts with the time that it waited."""
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(aging_auth.token)
            await gate.wait_until_async(1)
            began = anyio.current_time()
            with anyio.move_on_after(0.01):
                await aging_auth.token()
            gave_up_after = anyio.current_time() - began
            await anyio.sleep(0.05)
    await aging_auth.events_delivered()

    (event,) = awaited(events)
    assert event.callers == 2
    assert 0.01 <= min(event.waits) <= gave_up_after
    assert max(event.waits) >= 0.05


async def test_callers_of_a_failed_login_have_waited(
    sandbox: Sandbox, make_auth: MakeAuth, events: list[Event]
) -> None:
    """Callers of a login that fails have waited; those that get its failure from memory have not."""
    sandbox.fail("connect", Fault.status(503))
    auth = make_auth(policy=ONE_TRY)
    for _ in range(3):
        with pytest.raises(AuthError):
            await auth.token()
    await auth.events_delivered()

    assert [event.callers for event in awaited(events)] == [1]


async def test_a_renewal_ahead_of_need_keeps_no_caller_waiting(
    aging_auth: TaxizerAuth, clock: ManualClock, events: list[Event]
) -> None:
    """Nobody waits for a renewal ahead of need."""
    await aging_auth.token()
    clock.advance(DUE)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(aging_auth.token)
    await settle(aging_auth._bearer.provider)
    await aging_auth.events_delivered()

    assert [event.callers for event in awaited(events)] == [1]


async def test_with_keep_fresh_nobody_waits(
    sandbox: Sandbox, make_auth: MakeAuth, events: list[Event]
) -> None:
    """The waits of `keep_fresh` are not counted."""
    clock = ManualClock()
    auth = make_auth(clock=clock, store=None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auth.keep_fresh)
        await clock.wait_until_asleep()
        await auth.token()
        clock.advance(DUE)
        await sandbox.wait_until_async(lambda counters: counters.refreshes == 1)
        await clock.wait_until_asleep()
        await auth.token()
        tasks.cancel_scope.cancel()
    await auth.events_delivered()

    assert sandbox.counters.exchanges == 2
    assert awaited(events) == []
