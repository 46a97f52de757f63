"""What a lease of a `TokenStore` has to be worth; see `_store_record_cases` for how rules are written."""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Final

import anyio

from taxizer_async.testing._store_suite.harness import (
    ON_THE_WAY,
    Cases,
    StoreHarness,
    get,
    leased,
    make_record,
    put,
    require,
    require_same,
)


if TYPE_CHECKING:
    from taxizer_async.stores import Lease, StoreKey, TokenStore


LEASE_CASES: Final = Cases()

_RACERS: Final = 20


@LEASE_CASES.add
async def _a_lease_excludes_all_others(harness: StoreHarness) -> None:
    """
    While somebody has the lease nobody gets it, through the same store or another.

    Take it in one step that can't be done twice: SET with NX, a unique row, a lock of the kernel's.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())
    for each in (store, other):
        require(await each.lease(harness.key()) is None, "a lease was given to two")
    await lease.release()


@LEASE_CASES.add
async def _a_released_lease_is_free(harness: StoreHarness) -> None:
    """
    Once it is given back anybody gets it.

    Wait in `release` until it is done.
    """
    store, other = await harness.two()
    await (await leased(store, harness.key())).release()
    await (await leased(other, harness.key())).release()
    await (await leased(store, harness.key())).release()


@LEASE_CASES.add
async def _an_old_lease_frees_nothing(harness: StoreHarness) -> None:
    """
    To give a lease back twice does no harm, least of all to the next one who has it.

    Give each lease an owner of its own, and compare it in the same step that gives it back.
    """
    store, other = await harness.two()
    old = await leased(store, harness.key())
    await old.release()
    new = await leased(other, harness.key())
    await old.release()
    require(await store.lease(harness.key()) is None, "an old lease gave back that of another")
    require(await new.extend(), "an old lease ended that of another")
    await new.release()


@LEASE_CASES.add
async def _one_of_many_gets_the_lease(harness: StoreHarness) -> None:
    """
    Of many who want it at once one gets it.

    Take it in one step: between a look and a step after it there is room for another.
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
    `extend` tells whether it is held.

    Compare the owner, and return True or False; a lease that is lost is no error.
    """
    store = await harness.store()
    lease = await leased(store, harness.key())
    require(await lease.extend() is True, "a lease that is held is said to be lost")
    await lease.release()
    require(await lease.extend() is False, "a lease that was given back is said to be held")


@LEASE_CASES.add
async def _a_lost_lease_can_not_be_extended(harness: StoreHarness) -> None:
    """
    Who has lost the lease to another is told so by `extend`, which takes nothing from the other.

    Compare the owner in the same step that extends.
    """
    store, other = await harness.two()
    old = await leased(store, harness.key())
    await old.release()
    new = await leased(other, harness.key())
    require(await old.extend() is False, "a lease that another has is said to be held")
    require(await new.extend() is True, "who lost the lease took it from another")
    require(await other.save(harness.key(), make_record(), new), "who lost it took it from another")
    await new.release()


@LEASE_CASES.add
async def _a_heartbeat_is_none_or_a_time(harness: StoreHarness) -> None:
    """
    `heartbeat` is None, or a positive number of seconds.

    Return a third of what the lease lasts, or less, or None if it ends with its holder's process.
    """
    lease = await leased(await harness.store(), harness.key())
    beat = lease.heartbeat
    require(beat is None or 0 < beat < math.inf, f"it is {beat!r}")
    await lease.release()


@LEASE_CASES.add
async def _a_lease_lasts_from_one_heartbeat_to_the_next(harness: StoreHarness) -> None:
    """
    Nobody else gets it, and it is not lost, before `extend` is due.

    Have it last three heartbeats or more, as an answer may be late; each `extend` starts that anew.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())
    for _ in range(2):
        await anyio.sleep(min(lease.heartbeat or 0.0, ON_THE_WAY))
        require(await other.lease(harness.key()) is None, "another got it before that")
        require(await lease.extend() is True, "it was lost before that")
    await lease.release()


@LEASE_CASES.add
async def _a_save_needs_the_lease(harness: StoreHarness) -> None:
    """
    A save with a lease that was given back does nothing, and says so.

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
    A save with the lease of another key does nothing, and says so.

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
    Who has the lease when another clears still has it.

    Keep the lease apart from the record.
    """
    store, other = await harness.two()
    lease = await leased(store, harness.key())
    await put_with(store, harness.key(), lease)
    await other.clear(harness.key())
    require(await other.lease(harness.key()) is None, "the lease is free")
    require(await lease.extend() is True, "the lease is lost")
    await put_with(store, harness.key(), lease)
    await lease.release()


async def put_with(store: TokenStore, key: StoreKey, lease: Lease) -> None:
    """Save with *lease*, which has to be good."""
    require(
        await store.save(key, make_record(), lease), "a save with the lease in hand was refused"
    )


async def _is_refused(store: TokenStore, key: StoreKey, lease: Lease) -> None:
    require(await store.save(key, make_record("v-2"), lease) is False, "it was not refused")
    require_same(await get(store, key), make_record("v-1"))
