"""The rules for leases."""

from __future__ import annotations

import math

from typing import Final

import anyio

from taxizer_async.stores import Lease, StoreKey, TokenStore
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
from taxizer_async.testing._store_suite.other_process import lease_elsewhere


LEASE_CASES: Final = Cases()

_RACERS: Final = 20

_NOT_EXTENDED: Final = "it ended though it was extended"


@LEASE_CASES.add
async def _a_lease_excludes_all_others(harness: StoreHarness) -> None:
    """
    While the lease is held no other caller gets it, through the same store or another.

    Take it in one step that can't be done twice: SET with NX, a unique row, a kernel lock.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())
    for each in (store, other):
        require(await each.lease(harness.key()) is None, "two callers hold the lease")
    await lease.release()


@LEASE_CASES.add
async def _a_released_lease_is_free(harness: StoreHarness) -> None:
    """
    Once the lease is released any caller can get it.

    Return from `release` only when that is done.
    """
    store, other = await harness.two()
    await (await leased(store, harness.key())).release()
    await (await leased(other, harness.key())).release()
    await (await leased(store, harness.key())).release()


@LEASE_CASES.add
async def _an_old_lease_frees_nothing(harness: StoreHarness) -> None:
    """
    Releasing a lease twice does no harm, least of all to its next holder.

    Give each lease a new owner, and compare the owner in the same step that releases it.
    """
    store, other = await harness.two()
    old = await leased(store, harness.key())
    await old.release()
    new = await leased(other, harness.key())
    await old.release()
    require(await store.lease(harness.key()) is None, "an old lease released a new one")
    require(await new.extend(), "an old lease ended a new one")
    await new.release()


@LEASE_CASES.add
async def _one_of_many_gets_the_lease(harness: StoreHarness) -> None:
    """
    Of many callers that want the lease at once one gets it.

    Take it in one step: another caller fits between a look and the next step.
    """
    stores = [await harness.store() for _ in range(_RACERS)]
    leases: list[Lease] = []

    async def race(store: TokenStore) -> None:
        lease = await store.lease(harness.key())
        if lease is not None:
            leases.append(lease)

    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(race, store)
    require(len(leases) == 1, f"{len(leases)} got it")
    await leases[0].release()


@LEASE_CASES.add
async def _a_lease_can_be_extended_while_it_is_held(harness: StoreHarness) -> None:
    """
    `extend` tells whether the lease is held.

    Compare the owner, and return True or False; a lost lease is no error.
    """
    store = await harness.store()
    lease = await leased(store, harness.key())
    require(await lease.extend() is True, "a lease that is held is reported as lost")
    await lease.release()
    require(await lease.extend() is False, "a released lease is reported as held")


@LEASE_CASES.add
async def _a_lost_lease_can_not_be_extended(harness: StoreHarness) -> None:
    """
    `extend` tells a holder that it lost the lease, and does not take the lease from the new holder.

    Compare the owner in the same step that extends.
    """
    store, other = await harness.two()
    old = await leased(store, harness.key())
    await old.release()
    new = await leased(other, harness.key())
    require(await old.extend() is False, "a lease that another caller holds is reported as held")
    require(await new.extend() is True, "an old holder took the lease from the new one")
    require(
        await other.save(harness.key(), make_record(), new),
        "an old holder took the lease from the new one",
    )
    await new.release()


@LEASE_CASES.add
async def _a_heartbeat_is_none_or_a_time(harness: StoreHarness) -> None:
    """
    `heartbeat` is None, or a positive number of seconds.

    Return a quarter of the lease's duration, or less; or None if the lease ends with its holder's process.
    """
    lease = await leased(await harness.store(), harness.key())
    beat = lease.heartbeat
    require(beat is None or 0 < beat < math.inf, f"it is {beat!r}")
    await lease.release()


@LEASE_CASES.add
async def _a_lease_lasts_for_as_long_as_it_is_extended(harness: StoreHarness) -> None:
    """
    A lease with a heartbeat ends without it, and not with it.

    Let it end by itself four heartbeats after it was taken, and let `extend` put the end off as far again.
    """
    store, other = await harness.two()
    kept = await leased(store, harness.key("-kept"))
    left = await leased(store, harness.key("-left"))
    if kept.heartbeat is None:
        await kept.release()
        await left.release()
        return
    done = anyio.Event()

    async def extend(beat: float) -> None:
        while not done.is_set():
            with anyio.move_on_after(beat):
                await done.wait()
            require(await other.lease(harness.key("-kept")) is None, _NOT_EXTENDED)
            require(await kept.extend() is True, _NOT_EXTENDED)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extend, kept.heartbeat)
        successor = await leased_in_turn(other, harness.key("-left"))
        require(await left.extend() is False, "a lease that another has taken was extended")
        await successor.release()
        done.set()
    await kept.release()
    await left.release()


@LEASE_CASES.add
async def _a_killed_holders_lease_ends(harness: StoreHarness) -> None:
    """
    A lease excludes other processes, and ends when the process that holds it is killed.

    Have the kernel or the connection end it, or let it end by itself a few heartbeats after the last.
    """
    async with lease_elsewhere(harness.pickled_factory(), harness.key()):
        store = await harness.store()
        require(await store.lease(harness.key()) is None, "two processes hold the lease")
        require_same(await get(store, harness.key()), make_record())
    await (await leased_in_turn(store, harness.key())).release()
    await put(store, harness.key(), make_record("v-2"))
    require_same(await get(store, harness.key()), make_record("v-2"))


@LEASE_CASES.add
async def _a_save_needs_the_lease(harness: StoreHarness) -> None:
    """
    A save with a released lease does nothing, and returns False.

    Compare the owner of the lease in the same step, or transaction, that replaces the record.
    """
    store, other = await harness.two()
    await put(store, harness.key(), make_record("v-1"))
    late = await leased(store, harness.key())
    await late.release()
    await _is_refused(store, harness.key(), late)
    holder = await leased(other, harness.key())
    await _is_refused(store, harness.key(), late)
    await holder.release()


@LEASE_CASES.add
async def _a_save_needs_the_lease_of_its_key(harness: StoreHarness) -> None:
    """
    A save with the lease of another key does nothing, and returns False.

    Compare the owner of the lease of that very key.
    """
    store = await harness.store()
    await put(store, harness.key(), make_record("v-1"))
    lease = await leased(store, harness.key("-other"))
    await _is_refused(store, harness.key(), lease)
    await lease.release()


@LEASE_CASES.add
async def _a_clear_leaves_the_lease_alone(harness: StoreHarness) -> None:
    """
    A holder keeps its lease when another caller clears the record.

    Keep the lease apart from the record.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())
    await save(store, harness.key(), make_record(), lease)
    await other.clear(harness.key())
    require(await other.lease(harness.key()) is None, "the lease is free")
    require(await lease.extend() is True, "the lease is lost")
    await save(store, harness.key(), make_record(), lease)
    await lease.release()


async def _is_refused(store: TokenStore, key: StoreKey, lease: Lease) -> None:
    require(await store.save(key, make_record("v-2"), lease) is False, "it was not refused")
    require_same(await get(store, key), make_record("v-1"))
