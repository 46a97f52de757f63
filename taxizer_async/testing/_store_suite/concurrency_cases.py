"""The rules for many calls at once, and for calls that are cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from taxizer_async._core.secret import Secret
from taxizer_async.stores import Lease, TokenRecord, TokenStore
from taxizer_async.testing._store_suite.harness import (
    Cases,
    StoreHarness,
    get,
    leased,
    leased_in_turn,
    make_record,
    put,
    require,
    require_same,
    save,
)


CONCURRENCY_CASES: Final = Cases()

_SAVES: Final = 100
_WORKERS: Final = 6
_TURNS: Final = 5
#: After so many steps of the event loop a call is cancelled; it may be done after the last number.
_TICKS: Final = (0, 1, 2, 3, 5, 8, 100)


@CONCURRENCY_CASES.add
async def _no_record_is_torn(harness: StoreHarness) -> None:
    """
    A load during a save returns the record before it or the one after it, whole.

    Write the record elsewhere and rename it, or write it in one transaction.
    """
    writer, reader = await harness.two()
    key = harness.key()
    records = [make_record(f"v-{n}", jwt=Secret(f"{n}" * (1 + n % 7 * 999))) for n in range(_SAVES)]
    seen: list[TokenRecord] = []

    async def look(until: anyio.Event) -> None:
        while not until.is_set():
            seen.append(await get(reader, key))
            await anyio.lowlevel.checkpoint()

    await put(writer, key, records[0])
    done = anyio.Event()
    lease = await leased(writer, key)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(look, done)
        for record in records:
            await save(writer, key, record, lease)
        done.set()
    await lease.release()
    whole = {(record.version, record.token.jwt) for record in records}
    torn = [each.version for each in seen if (each.version, each.token.jwt) not in whole]
    require(not torn, f"{len(torn)} of {len(seen)} were neither")


@CONCURRENCY_CASES.add
async def _no_save_is_lost(harness: StoreHarness) -> None:
    """
    A caller that gets the lease sees what the last holder saved.

    Return from a save only when it is done, and never release before a save that came first.
    """
    stores = [await harness.store() for _ in range(_WORKERS)]
    await put(stores[0], harness.key(), make_record("0"))

    async def work(store: TokenStore) -> None:
        for _ in range(_TURNS):
            lease = await leased_in_turn(store, harness.key())
            number = int((await get(store, harness.key())).version) + 1
            await save(store, harness.key(), make_record(f"{number}"), lease)
            await lease.release()

    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(work, store)
    saves = int((await get(stores[0], harness.key())).version)
    require(saves == _WORKERS * _TURNS, f"{saves} of {_WORKERS * _TURNS} saves were built upon")


@CONCURRENCY_CASES.add
async def _many_keys_are_used_at_once(harness: StoreHarness) -> None:
    """
    Apps that log in at the same moment each get their own record.

    Keep the state of a call in its local variables.
    """
    store = await harness.store()

    async def work(number: int) -> None:
        key = harness.key(f"-{number}")
        for turn in range(_TURNS):
            record = make_record(f"{number}-{turn}")
            await put(store, key, record)
            require_same(await get(store, key), record)

    async with anyio.create_task_group() as tasks:
        for number in range(_WORKERS):
            tasks.start_soon(work, number)


@CONCURRENCY_CASES.add
async def _a_clear_harms_no_save(harness: StoreHarness) -> None:
    """
    A save succeeds while another caller clears the record.

    Touch nothing in `clear` that a running save needs.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())

    async def clear(until: anyio.Event) -> None:
        while not until.is_set():
            await other.clear(harness.key())
            await anyio.lowlevel.checkpoint()

    done = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clear, done)
        for number in range(_SAVES):
            await save(store, harness.key(), make_record(f"v-{number}"), lease)
        done.set()
    await save(store, harness.key(), make_record(), lease)
    require_same(await get(other, harness.key()), make_record())
    await lease.release()


@CONCURRENCY_CASES.add
async def _a_cancelled_call_leaves_no_lease(harness: StoreHarness) -> None:
    """
    A call for the lease that is cancelled does not hold it for ever.

    Release it in `except BaseException`, shielded and for a short time, or let it end by itself.
    """
    store, other = await harness.two()
    for ticks in _TICKS:
        given: list[Lease] = []

        async def ask(given: list[Lease] = given) -> None:
            lease = await store.lease(harness.key())
            if lease is not None:
                given.append(lease)

        await _cut_short(ask, ticks)
        for lease in given:
            await lease.release()
        await (await leased_in_turn(other, harness.key())).release()


@CONCURRENCY_CASES.add
async def _a_cancelled_load_leaves_its_answer_to_nobody(harness: StoreHarness) -> None:
    """
    After a cancelled call the next calls get their own answers.

    Close a connection if its answer was not read.
    """
    store = await harness.store()
    await put(store, harness.key(), make_record("v-1"))
    for ticks in _TICKS:
        await _cut_short(partial(store.load, harness.key()), ticks)
        require(
            await store.load(harness.key("-none")) is None, "it returned the answer to another call"
        )
        await _cut_short(partial(store.load, harness.key("-none")), ticks)
        require_same(await get(store, harness.key()), make_record("v-1"))


@CONCURRENCY_CASES.add
async def _a_cancelled_save_is_done_or_not(harness: StoreHarness) -> None:
    """
    A cancelled save has saved all or nothing, and its holder keeps the lease and can save again.

    Replace the record in one step, and let no late save overtake the next one.
    """
    store, other = await harness.two()
    key = harness.key()
    before, after = (make_record(name, jwt=Secret(name * 999)) for name in ("before", "after"))
    for ticks in _TICKS:
        lease = await leased_in_turn(store, key)
        await save(store, key, before, lease)
        await _cut_short(partial(store.save, key, after, lease), ticks)
        seen = await get(other, key)
        require_same(seen, before if seen.version == "before" else after)
        await save(store, key, make_record("next"), lease)
        require_same(await get(other, key), make_record("next"))
        await lease.release()
    await (await leased_in_turn(other, key)).release()


@CONCURRENCY_CASES.add
async def _what_was_cancelled_can_be_done_again(harness: StoreHarness) -> None:
    """
    A cancelled `extend`, `clear` or `release` does no harm, and works the next time.

    Record that something is done only after it is.
    """
    store, other = await harness.two()
    key = harness.key()
    for ticks in _TICKS:
        await put(store, key, make_record())
        lease = await leased_in_turn(store, key)
        await _cut_short(lease.extend, ticks)
        require(await lease.extend() is True, "the lease was lost with a cancelled extend")
        await _cut_short(partial(store.clear, key), ticks)
        await store.clear(key)
        require(await other.load(key) is None, "what was cleared is still there")
        await _cut_short(lease.release, ticks)
        await lease.release()
        await (await leased(other, key)).release()


async def _cut_short(call: Callable[[], Awaitable[object]], ticks: int) -> None:
    """Cancel *call* after *ticks* steps of the event loop."""

    async def run() -> None:
        await call()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
