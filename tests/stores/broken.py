"""A small store that keeps all rules, and for each rule a store that breaks it."""

from __future__ import annotations

import time

from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs

from taxizer_async import Secret
from taxizer_async.stores import FailureRecord, Lease, RecordCodec, StoreKey, StoreView, TokenRecord
from tests.stores.conftest import make_record


@attrs.define(eq=False)
class Shared:
    """The state that all stores of one test share."""

    records: dict[StoreKey, tuple[float, TokenRecord]] = attrs.Factory(dict)
    holders: dict[StoreKey, PlainLease] = attrs.Factory(dict)
    more: dict[Any, Any] = attrs.Factory(dict)


class PlainLease:
    heartbeat: float | None = None

    def __init__(self, store: Plain, key: StoreKey) -> None:
        self.store = store
        self.key = key

    async def extend(self) -> bool:
        return self.is_held()

    async def release(self) -> None:
        if self.is_held():
            del self.store.shared.holders[self.key]

    def is_held(self) -> bool:
        return self.store.shared.holders.get(self.key) is self


class Plain:
    """Keeps all rules."""

    lease_class: type[PlainLease] = PlainLease

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def name(self, key: StoreKey) -> StoreKey:
        return key

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        saved = self.shared.records.get(self.name(key))
        if saved is None:
            return None
        at, record = saved
        return attrs.evolve(record, age=record.age + time.monotonic() - at)

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        if not self.may_save(key, lease):
            return False
        self.write(key, record)
        return True

    def may_save(self, key: StoreKey, lease: Lease) -> bool:
        return self.shared.holders.get(self.name(key)) is lease

    def write(self, key: StoreKey, record: TokenRecord) -> None:
        self.shared.records[self.name(key)] = time.monotonic(), record

    async def clear(self, key: StoreKey, /) -> None:
        self.shared.records.pop(self.name(key), None)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        lease = self.lease_class(self, self.name(key))
        return lease if self.shared.holders.setdefault(lease.key, lease) is lease else None


class Inventive(Plain):
    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        return await super().load(key) or make_record()


class Changing(Plain):
    """Saves a record as changed by *change*."""

    def change(self, record: TokenRecord) -> TokenRecord:
        raise NotImplementedError

    def write(self, key: StoreKey, record: TokenRecord) -> None:
        super().write(key, self.change(record))


class Coarse(Changing):
    def change(self, record: TokenRecord) -> TokenRecord:
        token = record.token
        if token.expires_at is not None:
            token = attrs.evolve(token, expires_at=token.expires_at.replace(microsecond=0))
        return attrs.evolve(record, token=token)


class Filling(Changing):
    def change(self, record: TokenRecord) -> TokenRecord:
        return attrs.evolve(record, refresh_lifetime=record.refresh_lifetime or 0.0)


class Narrow(Changing):
    def change(self, record: TokenRecord) -> TokenRecord:
        jwt = Secret(record.token.jwt.reveal()[:4_096])
        return attrs.evolve(record, token=attrs.evolve(record.token, jwt=jwt))


class Forgetful(Changing):
    def change(self, record: TokenRecord) -> TokenRecord:
        return attrs.evolve(record, refresh_spent=False)


class Sticky(Plain):
    def write(self, key: StoreKey, record: TokenRecord) -> None:
        before = self.shared.records.get(key)
        spent = record.refresh_spent or (before is not None and before[1].refresh_spent)
        super().write(key, attrs.evolve(record, refresh_spent=spent))


class Caching(Plain):
    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.cache: dict[StoreKey, TokenRecord | None] = {}

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        if self.cache.get(key) is None:
            self.cache[key] = await super().load(key)
        return self.cache[key]

    def write(self, key: StoreKey, record: TokenRecord) -> None:
        self.cache[key] = record
        super().write(key, record)


class Freezing(Plain):
    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        saved = self.shared.records.get(key)
        return saved and saved[1]


class Rejuvenating(Plain):
    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        record = await super().load(key)
        return record and attrs.evolve(record, age=record.age % 100)


class Unclearable(Plain):
    async def clear(self, key: StoreKey, /) -> None:
        pass


class OfOneApp(Plain):
    def name(self, key: StoreKey) -> StoreKey:
        return StoreKey(key.base_url, key.client_id[:28])


class OfOneApi(Plain):
    def name(self, key: StoreKey) -> StoreKey:
        return StoreKey("any", key.client_id)


class CaseBlind(Plain):
    def name(self, key: StoreKey) -> StoreKey:
        return StoreKey(key.base_url, key.client_id.lower())


class Joining(Plain):
    def name(self, key: StoreKey) -> StoreKey:
        return StoreKey(key.base_url + key.client_id, "")


class Cutting(Plain):
    def name(self, key: StoreKey) -> StoreKey:
        return StoreKey(key.base_url, key.client_id[:255])


class Generous(Plain):
    async def lease(self, key: StoreKey, /) -> Lease | None:
        lease = self.shared.holders[key] = PlainLease(self, key)
        return lease


class _KeptLease(PlainLease):
    async def release(self) -> None:
        pass


class Keeping(Plain):
    lease_class = _KeptLease


class _GreedyLease(PlainLease):
    async def release(self) -> None:
        self.store.shared.holders.pop(self.key, None)


class Greedy(Plain):
    lease_class = _GreedyLease


class LookingFirst(Plain):
    async def lease(self, key: StoreKey, /) -> Lease | None:
        if key in self.shared.holders:
            return None
        await anyio.lowlevel.checkpoint()
        lease = self.shared.holders[key] = PlainLease(self, key)
        return lease


class _DeafLease(PlainLease):
    async def extend(self) -> bool:
        return True


class Deaf(Plain):
    lease_class = _DeafLease


class _StealingLease(PlainLease):
    async def extend(self) -> bool:
        if self.key not in self.store.shared.holders:
            return False
        self.store.shared.holders[self.key] = self
        return True


class Stealing(Plain):
    lease_class = _StealingLease


class _HeartlessLease(PlainLease):
    heartbeat = 0.0


class Heartless(Plain):
    lease_class = _HeartlessLease


class _EndingLease(PlainLease):
    """Ends by itself after so many heartbeats."""

    heartbeat = 0.02
    lasts = 4.0

    def __init__(self, store: Plain, key: StoreKey) -> None:
        super().__init__(store, key)
        self.put_off()

    def put_off(self) -> None:
        self.end = time.monotonic() + self.heartbeat * self.lasts

    async def extend(self) -> bool:
        if self.is_held():
            self.put_off()
        return self.is_held()

    def is_held(self) -> bool:
        return super().is_held() and time.monotonic() < self.end


class Ending(Plain):
    """Keeps all rules, with leases that end by themselves."""

    lease_class = _EndingLease

    async def lease(self, key: StoreKey, /) -> Lease | None:
        holder = self.shared.holders.get(self.name(key))
        if holder is not None and not holder.is_held():
            del self.shared.holders[holder.key]
        return await super().lease(key)

    def may_save(self, key: StoreKey, lease: Lease) -> bool:
        return isinstance(lease, PlainLease) and lease.is_held() and super().may_save(key, lease)


class _ShortLease(_EndingLease):
    # Longer than a stall of the process, after which nobody can tell.
    heartbeat = 0.2
    lasts = 0.5


class ShortLived(Ending):
    lease_class = _ShortLease


class _EndlessLease(PlainLease):
    heartbeat = 0.02


class Endless(Plain):
    """Keeps the lease of a holder that is gone."""

    lease_class = _EndlessLease


class _IdleLease(_EndingLease):
    async def extend(self) -> bool:
        return self.is_held()


class Idle(Ending):
    """Reports a lease as extended, and does not extend it."""

    lease_class = _IdleLease


class MarkerFiles:
    """
    Makes a file to take the lease, and removes it to release it: nothing does so for a process that was killed.

    All its rules but that one are kept well enough for one case.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.codec = RecordCodec()

    def path(self, key: StoreKey, kind: str) -> Path:
        return self.folder / f"{key.digest}.{kind}"

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        try:
            return self.codec.decode(key, self.path(key, "record").read_bytes(), age=0)
        except FileNotFoundError:
            return None

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:  # noqa: ARG002
        self.path(key, "record").write_bytes(self.codec.encode(key, record))
        return True

    async def clear(self, key: StoreKey, /) -> None:
        self.path(key, "record").unlink(missing_ok=True)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        try:
            self.path(key, "lease").touch(exist_ok=False)
        except FileExistsError:
            return None
        return _Marker(self.path(key, "lease"))


class _Marker:
    heartbeat = None

    def __init__(self, path: Path) -> None:
        self.path = path

    async def extend(self) -> bool:
        return self.path.exists()

    async def release(self) -> None:
        self.path.unlink(missing_ok=True)


class Unfenced(Plain):
    def may_save(self, key: StoreKey, lease: Lease) -> bool:  # noqa: ARG002
        return True


class OfAnyKey(Plain):
    def may_save(self, key: StoreKey, lease: Lease) -> bool:  # noqa: ARG002
        return lease in self.shared.holders.values()


class Silent(Plain):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        await super().save(key, record, lease)
        return True


class LeaseClearing(Plain):
    async def clear(self, key: StoreKey, /) -> None:
        await super().clear(key)
        self.shared.holders.pop(key, None)


class Tearing(Plain):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        before = await self.load(key)
        if before is not None:
            half = attrs.evolve(record, token=before.token)
            await super().save(key, half, lease)
            await anyio.lowlevel.checkpoint()
        return await super().save(key, record, lease)


class Lagging(Plain):
    """Answers from a copy that lags behind during concurrent calls."""

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        await anyio.lowlevel.checkpoint()
        before: TokenRecord | None = self.shared.more.get(key)
        now = self.shared.more[key] = await super().load(key)
        return before or now


class Careless(Plain):
    """Keeps the state of a call in the store object."""

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        self.shared.more["record"] = record
        await anyio.lowlevel.checkpoint()
        return await super().save(key, self.shared.more["record"], lease)


class Sweeping(Plain):
    """Lets `clear` remove what a save is about to put in place."""

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        self.shared.more[key] = record
        await anyio.lowlevel.checkpoint()
        is_there = self.shared.more.pop(key, None) is not None
        return is_there and await super().save(key, record, lease)

    async def clear(self, key: StoreKey, /) -> None:
        await super().clear(key)
        self.shared.more.pop(key, None)


class LeaseLosing(Plain):
    async def lease(self, key: StoreKey, /) -> Lease | None:
        lease = await super().lease(key)
        await anyio.lowlevel.checkpoint()
        return lease


class Piped(Plain):
    """Has one connection, on which the answer to a cancelled call is left for the next."""

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        answers: list[TokenRecord | None] = self.shared.more.setdefault("answers", [])
        answers.append(await super().load(key))
        await anyio.lowlevel.checkpoint()
        return answers.pop(0)


class Overtaken(Plain):
    """Completes a cancelled save later."""

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        late = self.shared.more.pop(key, None)
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.shared.more[key] = record
            raise
        return await super().save(key, late or record, lease)


class Sharing(Plain):
    """Shares failures, and keeps all rules."""

    def failures(self) -> dict[StoreKey, tuple[float, FailureRecord]]:
        failures: dict[StoreKey, tuple[float, FailureRecord]] = self.shared.more.setdefault(
            "failures", {}
        )
        return failures

    def left(self, failure: FailureRecord, saved_at: float) -> float:
        return failure.remaining - (time.monotonic() - saved_at)

    async def look(self, key: StoreKey, /) -> StoreView:
        saved_at, failure = self.failures().get(key, (0.0, None))
        if failure is not None:
            left = self.left(failure, saved_at)
            failure = attrs.evolve(failure, remaining=left) if left > 0 else None
        record = await self.load(key)
        return StoreView(record=record, failure=failure, leased=key in self.shared.holders)

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        if not self.may_save(key, lease):
            return False
        self.failures()[key] = time.monotonic(), failure
        return True

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        saved = await super().save(key, record, lease)
        if saved:
            self.failures().pop(key, None)
        return saved

    async def clear(self, key: StoreKey, /) -> None:
        await super().clear(key)
        self.failures().pop(key, None)


class Stopped(Sharing):
    def left(self, failure: FailureRecord, saved_at: float) -> float:  # noqa: ARG002
        return failure.remaining


class Vague(Sharing):
    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        return await super().save_failure(key, attrs.evolve(failure, pair=None), lease)


class Outspoken(Sharing):
    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:  # noqa: ARG002
        self.failures()[key] = time.monotonic(), failure
        return True


class Unforgiving(Sharing):
    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        return await Plain.save(self, key, record, lease)


class Blind(Sharing):
    async def look(self, key: StoreKey, /) -> StoreView:
        return attrs.evolve(await super().look(key), leased=False)


class _HastyLease(PlainLease):
    is_done = False

    async def release(self) -> None:
        if not self.is_done:
            self.is_done = True
            await anyio.lowlevel.checkpoint()
            await super().release()


class Hasty(Plain):
    """Reports a release as done before it is."""

    lease_class = _HastyLease


BROKEN: Final[dict[type[Plain], str]] = {
    Inventive: "nothing_is_there_at_first",
    Coarse: "what_is_saved_is_loaded",
    Filling: "what_is_missing_stays_missing",
    Narrow: "extremes_survive",
    Forgetful: "a_spent_refresh_token_stays_spent",
    Sticky: "a_spent_refresh_token_stays_spent",
    Caching: "a_later_save_replaces_an_earlier_one",
    Freezing: "a_record_grows_older",
    Rejuvenating: "a_record_grows_older",
    Unclearable: "a_cleared_record_is_gone",
    OfOneApp: "keys_are_apart_by_client_id",
    OfOneApi: "keys_are_apart_by_base_url",
    CaseBlind: "keys_that_look_alike_are_apart",
    Joining: "keys_that_look_alike_are_apart",
    Cutting: "odd_keys_are_keys",
    Generous: "a_lease_excludes_all_others",
    Keeping: "a_released_lease_is_free",
    Greedy: "an_old_lease_frees_nothing",
    LookingFirst: "one_of_many_gets_the_lease",
    Deaf: "a_lease_can_be_extended_while_it_is_held",
    Stealing: "a_lost_lease_can_not_be_extended",
    Heartless: "a_heartbeat_is_none_or_a_time",
    ShortLived: "a_lease_lasts_for_as_long_as_it_is_extended",
    Endless: "a_lease_lasts_for_as_long_as_it_is_extended",
    Idle: "a_lease_lasts_for_as_long_as_it_is_extended",
    Unfenced: "a_save_needs_the_lease",
    Silent: "a_save_needs_the_lease",
    OfAnyKey: "a_save_needs_the_lease_of_its_key",
    LeaseClearing: "a_clear_leaves_the_lease_alone",
    Vague: "a_failure_is_seen_by_all",
    Stopped: "a_failure_ends",
    Outspoken: "a_failure_needs_the_lease",
    Unforgiving: "a_failure_gives_way",
    Blind: "a_look_sees_what_a_load_does",
    Tearing: "no_record_is_torn",
    Lagging: "no_save_is_lost",
    Careless: "many_keys_are_used_at_once",
    Sweeping: "a_clear_harms_no_save",
    LeaseLosing: "a_cancelled_call_leaves_no_lease",
    Piped: "a_cancelled_load_leaves_its_answer_to_nobody",
    Overtaken: "a_cancelled_save_is_done_or_not",
    Hasty: "what_was_cancelled_can_be_done_again",
}
