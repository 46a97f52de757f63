"""
The rules of a `TokenStore`, each as a coroutine function that raises `AssertionError`.

Nothing in here knows a store, a test framework or an event loop.
"""

from __future__ import annotations

import math

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.lowlevel
import attrs

from taxizer_async._models import Secret, Token
from taxizer_async.testing._store_bench import (
    LIMIT,
    ON_THE_WAY,
    ROUNDING,
    Bench,
    get,
    leased,
    make_record,
    put,
    require,
    require_same,
)


if TYPE_CHECKING:
    from taxizer_async.stores import Lease, StoreKey, TokenRecord, TokenStore


Check: TypeAlias = Callable[[Bench], Awaitable[None]]

_RACERS: Final = 20
_SAVES: Final = 50

#: In order; the docstring of each is the rule.
CASES: Final[list[Check]] = []


def _case(check: Check) -> Check:
    CASES.append(check)
    return check


@_case
async def _nothing_is_there_at_first(bench: Bench) -> None:
    """A key that nothing was saved for has no record."""
    require(await (await bench.store()).load(bench.key()) is None, "it is not empty")


@_case
async def _what_is_saved_is_loaded(bench: Bench) -> None:
    """Every field of a record survives, also in another process."""
    writer, reader = await bench.two()
    await put(writer, bench.key(), make_record())
    require_same(await get(writer, bench.key()), make_record())
    require_same(await get(reader, bench.key()), make_record())


@_case
async def _what_is_missing_stays_missing(bench: Bench) -> None:
    """Fields that are None are None when they are loaded."""
    store = await bench.store()
    bare = attrs.evolve(make_record(), token=Token(jwt=Secret("j")), refresh_lifetime=None)
    await put(store, bench.key(), bare)
    require_same(await get(store, bench.key()), bare)


@_case
async def _extremes_survive(bench: Bench) -> None:
    """A JWT of 16 KiB, dates at the ends of the calendar, and lives of 0 s and of 300 years."""
    store = await bench.store()
    token: dict[str, Any] = {
        "jwt": Secret("j" * 16_384),
        "expires_at": datetime.max.replace(tzinfo=UTC),
        "refresh_expires_at": datetime.min.replace(tzinfo=UTC),
    }
    for life, refresh_life in ((0.0, -5.0), (1e10, 1e10)):
        record = attrs.evolve(make_record(**token), lifetime=life, refresh_lifetime=refresh_life)
        await put(store, bench.key(), record)
        require_same(await get(store, bench.key()), record)


@_case
async def _a_spent_refresh_token_stays_spent(bench: Bench) -> None:
    """The mark is there when it is loaded, also in another process."""
    writer, reader = await bench.two()
    await put(writer, bench.key(), attrs.evolve(make_record(), refresh_spent=True))
    require((await get(reader, bench.key())).refresh_spent, "the mark is lost")


@_case
async def _a_later_save_replaces_an_earlier_one(bench: Bench) -> None:
    """Of two saves the later one is loaded."""
    first, second = await bench.two()
    await put(first, bench.key(), make_record("v-1"))
    await put(second, bench.key(), make_record("v-2"))
    require_same(await get(first, bench.key()), make_record("v-2"))


@_case
async def _a_record_grows_older(bench: Bench) -> None:
    """The age goes on from what it was when it was saved."""
    store = await bench.store()
    await put(store, bench.key(), make_record(age=100.0))
    began = anyio.current_time()
    first = (await get(store, bench.key())).age
    while (later := (await get(store, bench.key())).age) < first + 0.05:
        passed = anyio.current_time() - began
        require(passed < ON_THE_WAY, f"in {passed:.1f} s it grew {later - first:.3f} s older")
        await anyio.sleep(0.005)
    passed = anyio.current_time() - began
    require(first >= 100.0 - ROUNDING, f"saved at 100 s, it was loaded at {first:g} s")
    require(later - first <= passed + 0.05, "it grew older than the time that has passed")


@_case
async def _keys_are_apart_by_client_id(bench: Bench) -> None:
    """Records and leases of two apps are independent."""
    await _are_apart(bench, bench.key("-a"), bench.key("-b"))


@_case
async def _keys_are_apart_by_base_url(bench: Bench) -> None:
    """Records and leases of one app at two APIs are independent."""
    other = bench.key(base_url="https://other.test")
    await _are_apart(bench, bench.key(), other)


@_case
async def _odd_keys_are_keys(bench: Bench) -> None:
    """A client_id may hold anything, and be long."""
    odd = ["/../../x", "a/b", "..", "a b", "ключ", "{x}", "%00", "*", "c" * 4_096, "'; --"]
    store = await bench.store()
    for number, suffix in enumerate(odd):
        await put(store, bench.key(suffix), make_record(f"v-{number}"))
    for number, suffix in enumerate(odd):
        require_same(await get(store, bench.key(suffix)), make_record(f"v-{number}"))


async def _are_apart(bench: Bench, one: StoreKey, other: StoreKey) -> None:
    store = await bench.store()
    lease = await leased(store, one)
    await put(store, other, make_record("v-2"))
    require(await store.load(one) is None, "it has the record of another key")
    require(
        await store.save(one, make_record("v-1"), lease),
        "a save with the lease in hand was refused",
    )
    await store.clear(other)
    require_same(await get(store, one), make_record("v-1"))
    await lease.release()


@_case
async def _a_lease_excludes_all_others(bench: Bench) -> None:
    """While somebody has the lease nobody gets it, through the same store or another."""
    store, other = await bench.two()
    lease = await leased(store, bench.key())
    for each in (store, other):
        require(await each.lease(bench.key()) is None, "a lease was given to two")
    await lease.release()


@_case
async def _a_released_lease_is_free(bench: Bench) -> None:
    """Once it is given back anybody gets it."""
    store, other = await bench.two()
    await (await leased(store, bench.key())).release()
    await (await leased(other, bench.key())).release()
    await (await leased(store, bench.key())).release()


@_case
async def _an_old_lease_frees_nothing(bench: Bench) -> None:
    """To give a lease back twice does no harm, least of all to the next one who has it."""
    store, other = await bench.two()
    old = await leased(store, bench.key())
    await old.release()
    new = await leased(other, bench.key())
    await old.release()
    require(await store.lease(bench.key()) is None, "an old lease gave back that of another")
    require(await new.extend(), "an old lease ended that of another")
    await new.release()


@_case
async def _one_of_many_gets_the_lease(bench: Bench) -> None:
    """Of many who want it at once one gets it."""
    stores = [await bench.store() for _ in range(_RACERS)]
    leases: list[Lease] = []

    async def race(store: TokenStore) -> None:
        lease = await store.lease(bench.key())
        if lease is not None:
            leases.append(lease)

    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(race, store)
    require(len(leases) == 1, f"{len(leases)} got it")
    await leases[0].release()


@_case
async def _a_lease_can_be_extended_while_it_is_held(bench: Bench) -> None:
    """`extend` tells whether it is held."""
    store = await bench.store()
    lease = await leased(store, bench.key())
    require(await lease.extend() is True, "a lease that is held is said to be lost")
    await lease.release()
    require(await lease.extend() is False, "a lease that was given back is said to be held")


@_case
async def _a_heartbeat_is_none_or_a_time(bench: Bench) -> None:
    """`heartbeat` is None, or a positive number of seconds."""
    lease = await leased(await bench.store(), bench.key())
    beat = lease.heartbeat
    require(beat is None or 0 < beat < math.inf, f"it is {beat!r}")
    await lease.release()


@_case
async def _a_save_needs_the_lease(bench: Bench) -> None:
    """A save with a lease that was given back does nothing, and says so."""
    store, other = await bench.two()
    await put(store, bench.key(), make_record("v-1"))
    late = await leased(store, bench.key())
    await late.release()
    require(await store.save(bench.key(), make_record("v-2"), late) is False, "it was not refused")
    require_same(await get(store, bench.key()), make_record("v-1"))
    holder = await leased(other, bench.key())
    require(await store.save(bench.key(), make_record("v-2"), late) is False, "it was not refused")
    require_same(await get(store, bench.key()), make_record("v-1"))
    await holder.release()


@_case
async def _a_save_needs_the_lease_of_its_key(bench: Bench) -> None:
    """A save with the lease of another key does nothing, and says so."""
    store = await bench.store()
    lease = await leased(store, bench.key("-other"))
    require(await store.save(bench.key(), make_record(), lease) is False, "it was not refused")
    require(await store.load(bench.key()) is None, "it was saved all the same")
    await lease.release()


@_case
async def _a_cleared_record_is_gone(bench: Bench) -> None:
    """`clear` drops the record for all, and there may be none."""
    store, other = await bench.two()
    await store.clear(bench.key())
    await put(store, bench.key(), make_record())
    await other.clear(bench.key())
    require(await store.load(bench.key()) is None, "it is still there")
    await put(store, bench.key(), make_record("v-2"))
    require_same(await get(other, bench.key()), make_record("v-2"))


@_case
async def _a_clear_leaves_the_lease_alone(bench: Bench) -> None:
    """Who has the lease when another clears still has it."""
    store, other = await bench.two()
    lease = await leased(store, bench.key())
    await other.clear(bench.key())
    require(await other.lease(bench.key()) is None, "the lease is free")
    require(await store.save(bench.key(), make_record(), lease), "the lease is lost")
    await lease.release()


@_case
async def _no_record_is_torn(bench: Bench) -> None:
    """Who loads while another saves gets the one before or the one after, whole."""
    writer, reader = await bench.two()
    key = bench.key()
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
            require(
                await writer.save(key, record, lease), "a save with the lease in hand was refused"
            )
        done.set()
    await lease.release()
    whole = {(record.version, record.token.jwt) for record in records}
    torn = [each.version for each in seen if (each.version, each.token.jwt) not in whole]
    require(not torn, f"{len(torn)} of {len(seen)} were neither")


@_case
async def _a_cancelled_call_leaves_no_lease(bench: Bench) -> None:
    """Who is cancelled while it asks for the lease does not have it for ever."""
    store, other = await bench.two()
    for ticks in range(5):
        given: list[Lease] = []
        async with anyio.create_task_group() as tasks:

            async def ask(given: list[Lease] = given) -> None:
                lease = await store.lease(bench.key())
                if lease is not None:
                    given.append(lease)

            tasks.start_soon(ask)
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        for lease in given:
            await lease.release()
        await _until_free(other, bench.key())


@_case
async def _a_cancelled_call_leaves_the_store_as_good_as_before(bench: Bench) -> None:
    """Whatever is cancelled, the next calls get their own answers."""
    store = await bench.store()
    await put(store, bench.key(), make_record("v-1"))
    for ticks in range(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.load, bench.key())
            tasks.start_soon(store.load, bench.key("-none"))
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        require_same(await get(store, bench.key()), make_record("v-1"))
        require(await store.load(bench.key("-none")) is None, "it answered what another had asked")


async def _until_free(store: TokenStore, key: StoreKey) -> None:
    """Take the lease and give it back; one that nobody knows of has to end by itself."""
    end = anyio.current_time() + LIMIT / 4
    while (lease := await store.lease(key)) is None:
        require(anyio.current_time() < end, "it is held by nobody")
        await anyio.sleep(0.01)
    await lease.release()
