"""One process's view of the shared store, which the simulation can break, slow down or keep busy."""

from __future__ import annotations

import enum
import math

from typing import TYPE_CHECKING, Final

import anyio
import attrs


if TYPE_CHECKING:
    from taxizer_async import MemoryTokenStore, Token
    from taxizer_async.stores import FailureRecord, Lease, StoreKey, StoreView, TokenRecord
    from taxizer_async.testing import ManualClock


#: Seconds after which a store that can't be read counts as down.
UNREADABLE_AFTER: Final = 5.0
#: From so many seconds on an answer may count as late, and so as none.
LATE_AFTER: Final = 1.0


class LeaseState(enum.Enum):
    """The result of the last try for the lease."""

    NONE = enum.auto()
    HELD = enum.auto()
    BUSY = enum.auto()
    DOWN = enum.auto()


class Shelf:
    """What all views share, and what the simulation does to it."""

    def __init__(self, inner: MemoryTokenStore, clock: ManualClock) -> None:
        self.inner = inner
        self.clock = clock
        self.slow = False
        #: The calls that wait for the simulation.
        self.gates: list[anyio.Event] = []
        #: JWTs that a process tried to save, with or without success.
        self.tried: set[str] = set()
        #: How many saves there were.
        self.saves = 0
        #: How often leases were broken.
        self.breaks = 0
        #: The number of the last save of each JWT by each view.
        self.last_saves: dict[tuple[str, View], int] = {}
        #: Refresh tokens that may be in the store.
        self.shared: set[str] = set()
        self.failure_saver: View | None = None
        self.stranger: Lease | None = None
        self.key: StoreKey | None = None

    async def pause(self) -> None:
        """Take a while if the store is slow."""
        if self.slow:
            gate = anyio.Event()
            self.gates.append(gate)
            try:
                await gate.wait()
            finally:
                self.gates.remove(gate)

    def was_saved_since(self, jwt: str, saves: int, *, other_than: View) -> bool:
        """Return whether a view other than *other_than* saved *jwt* after save number *saves*."""
        return any(
            number > saves
            for (saved, view), number in self.last_saves.items()
            if saved == jwt and view is not other_than
        )

    def last_saver(self, jwt: str) -> View | None:
        """Return the view that was the last to save *jwt*."""
        numbers = {
            number: view for (saved, view), number in self.last_saves.items() if saved == jwt
        }
        return numbers[max(numbers)] if numbers else None

    def stored_jwt(self) -> str | None:
        """Return the JWT in the store."""
        for _, record in self.inner._state.get().records.values():
            return record.token.jwt.reveal()
        return None

    def failure(self) -> FailureRecord | None:
        """Return the failure in the store, if it is still remembered."""
        for saved_at, failure in self.inner._state.get().failures.values():
            remaining = failure.remaining - (self.clock.monotonic() - saved_at)
            return attrs.evolve(failure, remaining=remaining) if remaining > 0 else None
        return None

    @property
    def leased(self) -> bool:
        """Whether the lease is taken."""
        return bool(self.inner._state.get().leases)

    def break_leases(self) -> None:
        """Take the lease away from its holder."""
        self.inner._state.get().leases.clear()
        self.breaks += 1
        self.stranger = None

    async def lend_to_stranger(self) -> None:
        """Give the lease to a process outside the simulation, which does not save."""
        if self.key is not None and self.stranger is None:
            self.stranger = await self.inner.lease(self.key)

    async def take_from_stranger(self) -> None:
        """Have that process release it."""
        if self.stranger is not None:
            await self.stranger.release()
            self.stranger = None


class View:
    """A `TokenStore`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.down: frozenset[str] = frozenset()
        self.state = LeaseState.NONE
        #: Whether its lease was taken away.
        self.robbed = False
        self._looked_at = -math.inf
        self._unreadable_since = math.inf
        #: How many calls there were, and how many of them saved a failure.
        self.calls = self.failures = 0

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        await self._enter("load")
        return await self._shelf.inner.load(key)

    async def look(self, key: StoreKey, /) -> StoreView:
        now = self._shelf.clock.monotonic()
        since = now if now - self._looked_at >= UNREADABLE_AFTER else self._unreadable_since
        self._looked_at, self._unreadable_since = now, min(since, now)
        try:
            await self._enter("load")
        finally:
            self._looked_at = self._shelf.clock.monotonic()
        view = await self._shelf.inner.look(key)
        if self._looked_at - now < LATE_AFTER:
            self._unreadable_since = math.inf
        return view

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        assert isinstance(lease, _Lease)
        await self._enter("save")
        saved = await self._shelf.inner.save_failure(key, failure, lease.inner)
        if saved:
            self.failures += 1
            self._shelf.failure_saver = self
        return saved

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        assert isinstance(lease, _Lease)
        token = record.token
        # A save that fails or takes too long may have been done all the same.
        done = True
        clock = self._shelf.clock
        began = clock.monotonic()
        try:
            await self._enter("save")
            # The time until the store is reached counts towards the age.
            record = attrs.evolve(record, age=record.age + clock.monotonic() - began)
            done = await self._shelf.inner.save(key, record, lease.inner)
        except BaseException:
            self._note(token, shared=True)
            raise
        self._note(token, shared=done)
        return done

    def _note(self, token: Token, *, shared: bool) -> None:
        shelf = self._shelf
        shelf.tried.add(token.jwt.reveal())
        shelf.saves += 1
        shelf.last_saves[token.jwt.reveal(), self] = shelf.saves
        if shared and token.refresh_token is not None:
            shelf.shared.add(token.refresh_token.reveal())

    async def clear(self, key: StoreKey, /) -> None:
        await self._enter("clear")
        await self._shelf.inner.clear(key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        self._shelf.key = key
        self.robbed = False
        try:
            await self._enter("lease")
        except BaseException:
            # It failed, or took too long.
            self.state = LeaseState.DOWN
            raise
        inner = await self._shelf.inner.lease(key)
        if inner is None:
            # A process that can't read what the holder saves goes on as if the store were down.
            unread = self._shelf.clock.monotonic() - self._unreadable_since
            self.state = LeaseState.DOWN if unread >= UNREADABLE_AFTER else LeaseState.BUSY
            return None
        self.state = LeaseState.HELD
        return _Lease(inner, self)

    async def release(self, inner: Lease) -> None:
        """Give back what `lease` gave."""
        self.state = LeaseState.NONE
        # The lease is released first: a release that fails leaves a lease that ends soon.
        await inner.release()
        await self._enter("release")

    async def _enter(self, operation: str) -> None:
        self.calls += 1
        await self._shelf.pause()
        if operation in self.down:
            raise OSError(f"CANARY: {operation}")


class _Lease:
    def __init__(self, inner: Lease, view: View) -> None:
        self.inner = inner
        self._view = view

    @property
    def heartbeat(self) -> float | None:
        return None

    async def extend(self) -> bool:
        return await self.inner.extend()

    async def release(self) -> None:
        await self._view.release(self.inner)
