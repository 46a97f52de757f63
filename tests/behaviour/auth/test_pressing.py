"""The last tenth of a token's life: callers wait for the next one, but not to the death of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from taxizer_async import RenewalPolicy
from taxizer_async.testing import Fault, ManualClock
from tests.support.limits import HANG

from .conftest import PRESSING


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async import TaxizerAuth
    from taxizer_async.testing import Sandbox


#: So long before its end, of which a waiter waits for half.
REMAINING = 0.6


def advance_to_near_the_end(clock: ManualClock, auth: TaxizerAuth) -> None:
    expires_in = auth.status().expires_in
    assert expires_in is not None
    clock.advance(expires_in - REMAINING)


async def note_token(auth: TaxizerAuth, jwts: list[str]) -> None:
    jwts.append((await auth.token()).jwt.reveal())


async def log_in(sandbox: Sandbox, auth: TaxizerAuth, clock: ManualClock, *, seconds: float) -> str:
    """Have a login take so long by the clock, and return its token."""
    jwts: list[str] = []
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(note_token, auth, jwts)
            await gate.wait_until_async(1)
            clock.advance(seconds)
    return jwts[0]


async def test_a_renewal_that_hangs_is_not_waited_for_until_the_token_dies(
    sandbox: Sandbox, make_auth: Callable[..., TaxizerAuth], clock: ManualClock
) -> None:
    """Half of what is left, and who has waited goes on with the token that lives."""
    auth = make_auth(policy=RenewalPolicy(attempt_timeout=4 * HANG))
    jwt = await log_in(sandbox, auth, clock, seconds=0.02)
    advance_to_near_the_end(clock, auth)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            began = anyio.current_time()
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            with anyio.fail_after(HANG):
                token = await auth.token()
            waited = anyio.current_time() - began

    assert token.jwt.reveal() == jwt
    assert waited >= REMAINING / 2
    assert sandbox.counters.exchanges == 2


async def test_a_dying_token_is_not_gone_on_with_while_a_renewal_may_be_well(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """If a renewal usually takes longer than what is left it is waited for."""
    jwt = await log_in(sandbox, aging_auth, clock, seconds=20.0)
    advance_to_near_the_end(clock, aging_auth)
    tokens: list[str] = []
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(note_token, aging_auth, tokens)
            await gate.wait_until_async(1)
            tasks.start_soon(note_token, aging_auth, tokens)
            await anyio.sleep(2 * REMAINING)
            assert tokens == []

    assert len(set(tokens)) == 1
    assert jwt not in tokens


async def test_a_renewal_that_fails_fails_nobody_while_the_token_lives(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """Not even who asked for it, and nobody asks again before the back-off is over."""
    before = await aging_auth.token()
    clock.advance(PRESSING)
    sandbox.fail("refresh", Fault.status(503))
    sandbox.fail("connect", Fault.status(503))

    for _ in range(3):
        assert await aging_auth.token() == before
    assert sandbox.counters.refreshes == 1


async def test_what_failed_while_the_token_lived_is_no_answer_once_it_has_ended(
    sandbox: Sandbox, aging_auth: TaxizerAuth, clock: ManualClock
) -> None:
    """The back-off ends with the token: then there is a try, which may well succeed."""
    before = await aging_auth.token()
    advance_to_near_the_end(clock, aging_auth)
    sandbox.fail("refresh", Fault.status(503), times=1)
    assert await aging_auth.token() == before
    clock.advance(REMAINING + 0.01)

    assert await aging_auth.token() != before
