"""
The rules for records and their keys.

A check is a coroutine function that raises `AssertionError`; `Cases` says what its docstring holds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import anyio
import attrs

from taxizer_async._core.models import Token
from taxizer_async._core.secret import Secret
from taxizer_async.stores import StoreKey
from taxizer_async.testing._store_suite.harness import (
    ON_THE_WAY,
    ROUNDING,
    Cases,
    StoreHarness,
    get,
    leased,
    make_record,
    put,
    require,
    require_same,
    save,
)


RECORD_CASES: Final = Cases()


@RECORD_CASES.add
async def _nothing_is_there_at_first(harness: StoreHarness) -> None:
    """
    A key for which nothing was saved has no record.

    Return None if there is no record; do not raise.
    """
    require(await (await harness.store()).load(harness.key()) is None, "it is not empty")


@RECORD_CASES.add
async def _what_is_saved_is_loaded(harness: StoreHarness) -> None:
    """
    Every field of a record survives, also in another process.

    Keep all fields of the record and of its token: times to the microsecond, text as Unicode.
    """
    writer, reader = await harness.two()
    await put(writer, harness.key(), make_record())
    require_same(await get(writer, harness.key()), make_record())
    require_same(await get(reader, harness.key()), make_record())


@RECORD_CASES.add
async def _what_is_missing_stays_missing(harness: StoreHarness) -> None:
    """
    Fields that are None are None when they are loaded.

    There may be no refresh token, and no time at which anything ends.
    """
    store = await harness.store()
    bare = attrs.evolve(make_record(), token=Token(jwt=Secret("j")), refresh_lifetime=None)
    await put(store, harness.key(), bare)
    require_same(await get(store, harness.key()), bare)


@RECORD_CASES.add
async def _extremes_survive(harness: StoreHarness) -> None:
    """
    A JWT of 16 KiB, dates at the ends of the calendar, and lives of 0 s and of 300 years.

    Keep times as text, durations as floats, and secrets in fields without a limit.
    """
    store = await harness.store()
    token: dict[str, Any] = {
        "jwt": Secret("j" * 16_384),
        "expires_at": datetime.max.replace(tzinfo=UTC),
        "refresh_expires_at": datetime.min.replace(tzinfo=UTC),
    }
    for life, refresh_life in ((0.0, -5.0), (1e10, 1e10)):
        record = attrs.evolve(make_record(**token), lifetime=life, refresh_lifetime=refresh_life)
        await put(store, harness.key(), record)
        require_same(await get(store, harness.key()), record)


@RECORD_CASES.add
async def _a_spent_refresh_token_stays_spent(harness: StoreHarness) -> None:
    """
    The mark is loaded, also by another process, until a save takes it back.

    Keep `refresh_spent` as given: a server that sees a refresh token twice may revoke all tokens.
    """
    writer, reader = await harness.two()
    await put(writer, harness.key(), attrs.evolve(make_record(), refresh_spent=True))
    require((await get(reader, harness.key())).refresh_spent, "the mark is lost")
    await put(writer, harness.key(), make_record())
    require(not (await get(reader, harness.key())).refresh_spent, "the mark can't be taken back")


@RECORD_CASES.add
async def _a_later_save_replaces_an_earlier_one(harness: StoreHarness) -> None:
    """
    Of two saves the later one is loaded, whole.

    Replace the record; merge nothing, and read through no cache.
    """
    first, second = await harness.two()
    later = attrs.evolve(make_record("v-2"), token=Token(jwt=Secret("j")), refresh_lifetime=None)
    await put(first, harness.key(), make_record("v-1"))
    require_same(await get(second, harness.key()), make_record("v-1"))
    await put(second, harness.key(), later)
    require_same(await get(first, harness.key()), later)


@RECORD_CASES.add
async def _a_record_grows_older(harness: StoreHarness) -> None:
    """
    The age grows from what it was at the save, at the pace of time.

    Keep the time of the save, by a clock that all users of the store share, and add the time since then.
    """
    store = await harness.store()
    await put(store, harness.key(), make_record(age=100.0))
    began = anyio.current_time()
    first = (await get(store, harness.key())).age
    while (later := (await get(store, harness.key())).age) < first + 0.05:
        passed = anyio.current_time() - began
        require(passed < ON_THE_WAY, f"in {passed:.1f} s it grew {later - first:.3f} s older")
        await anyio.sleep(0.005)
    passed = anyio.current_time() - began
    require(first >= 100.0 - ROUNDING, f"saved at 100 s, it was loaded at {first:g} s")
    require(later - first <= passed + 0.05, "it grew older than the time that has passed")


@RECORD_CASES.add
async def _a_cleared_record_is_gone(harness: StoreHarness) -> None:
    """
    `clear` drops the record for all processes, and does nothing if there is no record.

    Do not raise if there is no record, and read through no cache.
    """
    store, other = await harness.two()
    await store.clear(harness.key())
    await put(store, harness.key(), make_record())
    await other.clear(harness.key())
    for each in (store, other):
        require(await each.load(harness.key()) is None, "it is still there")
    await put(store, harness.key(), make_record("v-2"))
    require_same(await get(other, harness.key()), make_record("v-2"))


@RECORD_CASES.add
async def _keys_are_apart_by_client_id(harness: StoreHarness) -> None:
    """
    Records and leases of two apps are independent.

    Use both parts of the key in the names of the record and of the lease.
    """
    await _are_apart(harness, harness.key("-a"), harness.key("-b"))


@RECORD_CASES.add
async def _keys_are_apart_by_base_url(harness: StoreHarness) -> None:
    """
    Records and leases of one app at two APIs are independent.

    Use both parts of the key in the names of the record and of the lease.
    """
    await _are_apart(harness, harness.key(), harness.key(base_url="https://other.test"))


@RECORD_CASES.add
async def _keys_that_look_alike_are_apart(harness: StoreHarness) -> None:
    """
    Keys are the same only if both parts are, to the letter.

    Derive names from a digest: joined parts, a file system or a collation may confuse two keys.
    """
    key = harness.key("-a")
    alike = [
        harness.key("-A"),
        harness.key("-a "),
        attrs.evolve(key, base_url=key.base_url + key.client_id[0], client_id=key.client_id[1:]),
        attrs.evolve(key, base_url=key.client_id, client_id=key.base_url),
    ]
    for other in alike:
        await _are_apart(harness, key, other)
        for each in (key, other):
            await (await harness.store()).clear(each)


@RECORD_CASES.add
async def _odd_keys_are_keys(harness: StoreHarness) -> None:
    """
    A client_id may hold anything, and be long.

    Derive names from a digest, so that no part of a client_id is a path, a pattern or a statement.
    """
    odd = ["/../../x", "a/b", "..", "a b", "ключ", "{x}", "%00", "*", "\0", "\n", "'; --"]
    odd += ["c" * 4_096 + end for end in "ab"]
    store = await harness.store()
    for number, suffix in enumerate(odd):
        await put(store, harness.key(suffix), make_record(f"v-{number}"))
    for number, suffix in enumerate(odd):
        require_same(await get(store, harness.key(suffix)), make_record(f"v-{number}"))


async def _are_apart(harness: StoreHarness, one: StoreKey, other: StoreKey) -> None:
    store = await harness.store()
    lease = await leased(store, one)
    await put(store, other, make_record("v-2"))
    require(await store.load(one) is None, "it has the record of another key")
    await save(store, one, make_record("v-1"), lease)
    await store.clear(other)
    require_same(await get(store, one), make_record("v-1"))
    await lease.release()
