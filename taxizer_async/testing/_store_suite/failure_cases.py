"""
The rules for failures, which a store may share.

A check is a coroutine function that raises `AssertionError`; `Cases` says what its docstring holds. A store
that is no `FailureStore` is not tried.
"""

from __future__ import annotations

from typing import Final

import anyio
import attrs

from taxizer_async.stores import FailureRecord, FailureStore, StoreKey, TokenStore
from taxizer_async.testing._store_suite.harness import (
    ON_THE_WAY,
    ROUNDING,
    Cases,
    NotTriedError,
    StoreHarness,
    leased,
    make_record,
    put,
    require,
    require_same,
)


FAILURE_CASES: Final = Cases()

#: Seconds that a failure may be there for too long, as a store may round.
GRACE: Final = 3.0

_FAILURE: Final = FailureRecord(
    kind="unavailable",
    endpoint="https://api.test/v1/Auth/Connect",
    status_code=503,
    text="answered 503 Service Unavailable",
    pair=None,
    failures=3,
    ahead_of_need=True,
    remaining=60.0,
)
_REFUSAL: Final = attrs.evolve(_FAILURE, kind="refused", status_code=401, text="", pair="5f" * 32)


@FAILURE_CASES.add
async def _a_failure_is_seen_by_all(harness: StoreHarness) -> None:
    """
    A failure that was saved is seen by all, with the time that is left of it.

    Keep all fields of the failure, and when it ends; subtract the time since the save.
    """
    writer, reader = await _two(harness)
    key = harness.key()
    require(await _failure(writer, key) is None, "there is a failure, though none was saved")
    for saved in (_FAILURE, _REFUSAL):
        require(await _save(writer, key, saved), "a failure was refused with the lease in hand")
        for store in (writer, reader):
            seen = await _failure(store, key)
            if seen is None:
                msg = "a failure that was saved is not there"
                raise AssertionError(msg)
            require(
                attrs.evolve(seen, remaining=saved.remaining) == saved, "it is not what was saved"
            )
            require(
                -ROUNDING <= saved.remaining - seen.remaining < ON_THE_WAY,
                f"{seen.remaining:g} s are left of {saved.remaining:g} s",
            )
    require(await _failure(writer, harness.key("-other")) is None, "another app has it, too")


@FAILURE_CASES.add
async def _a_failure_ends(harness: StoreHarness) -> None:
    """
    A failure is gone once it is no longer remembered.

    Let the store drop it by its own clock, or compare its end with the time of the look.
    """
    store, _ = await _two(harness)
    key = harness.key()
    await _save(store, key, attrs.evolve(_FAILURE, remaining=0.2))
    end = anyio.current_time() + GRACE
    while await _failure(store, key) is not None:
        require(anyio.current_time() < end, "it has not ended")
        await anyio.sleep(0.02)


@FAILURE_CASES.add
async def _a_failure_needs_the_lease(harness: StoreHarness) -> None:
    """
    A failure is saved by the holder of its key's lease only; else `save_failure` returns False.

    Check the lease in the same step as the write, as `save` does.
    """
    store, _ = await _two(harness)
    key = harness.key()
    lease, other = await leased(store, key), await leased(store, harness.key("-other"))
    await lease.release()
    for lost in (lease, other):
        require(not await store.save_failure(key, _FAILURE, lost), "it was saved without the lease")
    require(await _failure(store, key) is None, "it was refused, and is there")
    await other.release()


@FAILURE_CASES.add
async def _a_failure_gives_way(harness: StoreHarness) -> None:
    """
    `save` and `clear` drop the failure of their key, and a failure leaves the record.

    Delete the failure in the step that writes or drops the record.
    """
    store, _ = await _two(harness)
    key = harness.key()
    await put(store, key, make_record())
    await _save(store, key, _FAILURE)
    view = await store.look(key)
    require(view.record is not None and view.failure is not None, "one of the two is not there")
    await put(store, key, make_record("v-2"))
    require(await _failure(store, key) is None, "it is there beside a newer token")
    await _save(store, key, _FAILURE)
    await store.clear(key)
    view = await store.look(key)
    require(view.record is None and view.failure is None, "something is left of it")


@FAILURE_CASES.add
async def _a_look_sees_what_a_load_does(harness: StoreHarness) -> None:
    """
    `look` returns the record that `load` would, and knows of the lease or says that it does not.

    Read all of it in one step; leave *leased* None if only taking the lease would tell.
    """
    store, other = await _two(harness)
    key = harness.key()
    require((await store.look(key)).record is None, "it is not empty")
    await put(store, key, make_record())
    for each in (store, other):
        view = await each.look(key)
        if view.record is None:
            msg = "what was saved is not there"
            raise AssertionError(msg)
        require_same(view.record, make_record())
        require(not view.leased, "it is said to be leased, and is free")
    lease = await leased(store, key)
    require((await other.look(key)).leased is not False, "it is said to be free, and is leased")
    await lease.release()


async def _two(harness: StoreHarness) -> tuple[FailureStore, FailureStore]:
    return _sharing(await harness.store()), _sharing(await harness.store())


def _sharing(store: TokenStore) -> FailureStore:
    if not isinstance(store, FailureStore):
        raise NotTriedError
    return store


async def _save(store: FailureStore, key: StoreKey, failure: FailureRecord) -> bool:
    lease = await leased(store, key)
    try:
        return await store.save_failure(key, failure, lease)
    finally:
        await lease.release()


async def _failure(store: FailureStore, key: StoreKey) -> FailureRecord | None:
    return (await store.look(key)).failure
