"""`forget` drops the token here and in the store, whatever is under way."""

from __future__ import annotations

import anyio
import pytest

from taxizer_async import TokenStoreError
from taxizer_async.stores import TokenRecord
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import MakeAuth
from tests.support.limits import HANG
from tests.support.scripted_store import ScriptedStore


async def test_forget_tells_when_the_store_keeps_the_token(
    make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """`forget` raises if the store keeps the record; this process drops the token all the same."""
    auth = make_auth()
    await auth.token()
    store.down = {"clear"}
    with pytest.raises(TokenStoreError, match="try again when the store is back"):
        await auth.forget()

    assert not auth.status().usable


@pytest.mark.invariant(25)
async def test_forget_during_a_login_drops_what_comes_of_it(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A token that was requested before forget() is neither saved nor given to a waiter."""
    auth = make_auth()
    jwts: list[str] = []

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    async with anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(take)
            await gate.wait_until_async(1)
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(HANG):
                await auth.forget()
            assert gate.waiting == 1

    _, second = sandbox.issued_jwts
    assert jwts == [second] * 2
    assert [record.token.jwt.reveal() for record in store.saved] == [second]
    assert auth.status().logins == 1
    assert sandbox.counters.connects == 2


@pytest.mark.invariant(25)
async def test_forget_during_a_refresh_brings_nothing_back(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore, clock: ManualClock
) -> None:
    """Neither a mark nor a late save puts back what was forgotten."""
    auth = make_auth()
    await auth.token()
    clock.advance(1_000)

    async def forget(record: TokenRecord) -> None:
        store.before_save = None
        marks.append(record.refresh_spent)
        await auth.forget()

    marks: list[bool] = []
    store.before_save = forget
    await auth.token()
    assert marks == [True]
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 0)

    clock.advance(1_000)
    sandbox.fail("refresh", Fault.status(503), times=4)
    async with anyio.create_task_group() as tasks:
        with sandbox.hold("refresh") as gate:
            tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            await auth.forget()
    assert (sandbox.counters.connects_ok, sandbox.counters.refreshes_ok) == (3, 0)

    async def forget_again(_: TokenRecord) -> None:
        store.before_save = None
        await auth.forget()

    await auth.forget()
    store.before_save = forget_again
    token = await auth.token()
    assert sandbox.counters.connects_ok == 5
    assert token.jwt.reveal() == sandbox.issued_jwts[-1]


@pytest.mark.invariant(25)
async def test_a_caller_during_forget_does_not_bring_the_token_back(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A caller that comes while the store is being cleared does not adopt the record that is still there."""
    auth = make_auth()
    old = await auth.token()
    adopted: list[bool] = []

    async def adopt() -> None:
        adopted.append((await auth.token()).jwt == old.jwt)

    store.before_clear = adopt
    await auth.forget()

    assert adopted == [False]
    assert not auth.status().usable
    assert (await auth.token()).jwt != old.jwt
    assert sandbox.counters.connects == 3


@pytest.mark.invariant(25)
async def test_a_waiter_for_a_forgotten_token_gets_another(
    sandbox: Sandbox, make_auth: MakeAuth, store: ScriptedStore
) -> None:
    """A token that is forgotten while its lease is given back reaches no caller."""
    auth = make_auth()
    jwts: list[str] = []

    async def forget() -> None:
        store.before_release = None
        await auth.forget()

    async def take() -> None:
        jwts.append((await auth.token()).jwt.reveal())

    store.before_release = forget
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(take)

    assert sandbox.counters.connects == 2
    assert set(jwts) == {sandbox.issued_jwts[-1]}
