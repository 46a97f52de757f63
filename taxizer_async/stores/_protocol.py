"""The contract of a token store, and the values that are passed to it."""

from __future__ import annotations

import hashlib

from typing import Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import attrs

from taxizer_async._core.models import Token


#: Seconds without a call of `extend` after which the leases of our own stores end.
LEASE_SECONDS: Final = 5.0
#: Seconds between two such calls: two of them in a row may get lost.
HEARTBEAT: Final = LEASE_SECONDS / 4


@attrs.frozen
class StoreKey:
    """Identifies a record: one API and one app."""

    base_url: str
    client_id: str

    @property
    def digest(self) -> str:
        """
        A name for the record, fit for a file, a column or a key of any store.

        It is unique to the key, and does not reveal the client_id.
        """
        return hashlib.sha256(repr((self.base_url, self.client_id)).encode()).hexdigest()[:32]


@attrs.frozen(kw_only=True)
class TokenRecord:
    """
    A token as a store keeps it, with durations rather than times, so that no two clocks need to agree.

    A store may drop a record once both lifetimes are over; one of an unknown refresh_lifetime is worth
    keeping for a month. Dropping it sooner costs a login; keeping it longer costs nothing. `RecordCodec`
    turns records into bytes and back.

    Attributes:
        token: The token.
        version: A random name, given when the token was issued.
        lifetime: Seconds from the request for the token until it expires.
        refresh_lifetime: The same for its refresh token; None if unknown.
        age: Seconds since that request, at the time of `save` or `load`: the store adds the time between
            the two.
        refresh_spent: Whether the refresh token was sent. Saved before it is sent, so that others know
            even if the holder of the lease dies meanwhile.
    """

    token: Token
    version: str
    lifetime: float
    refresh_lifetime: float | None
    age: float
    refresh_spent: bool


#: What a token endpoint answered instead of a token.
FailureKind: TypeAlias = Literal["refused", "unavailable", "malformed"]
FAILURE_KINDS: Final[tuple[FailureKind, ...]] = get_args(FailureKind)


@attrs.frozen(kw_only=True)
class FailureRecord:
    """
    What a token endpoint answered instead of a token, as a store keeps it for all that share it.

    Attributes:
        kind: Whether the credentials were "refused", the endpoint was "unavailable" (429, 5xx), or it
            answered JSON without a token ("malformed").
        endpoint: The URL that answered.
        status_code: The status of the answer.
        text: What happened, as part of a message; without any value from the answer.
        pair: A name of the credentials that were refused; None if the failure concerns any.
        failures: How many exchanges have failed in a row.
        ahead_of_need: Whether only one attempt was made, as there was a living token.
        remaining: Seconds for which it is remembered, from `save_failure` or `look`: the store subtracts
            the time between the two, and drops the failure when none is left.
    """

    kind: FailureKind
    endpoint: str
    status_code: int
    text: str
    pair: str | None
    failures: int
    ahead_of_need: bool
    remaining: float


def with_remaining(failure: FailureRecord, remaining: float) -> FailureRecord | None:
    """Return *failure* with *remaining* seconds left; None if it is remembered no longer."""
    return attrs.evolve(failure, remaining=remaining) if remaining > 0 else None


@attrs.frozen(kw_only=True)
class StoreView:
    """
    What a store has for a key, at one moment.

    Attributes:
        record: The record, if there is one.
        failure: The failure, if there is one that is still remembered.
        leased: Whether a client holds the lease; None if the store can't tell without taking it.
    """

    record: TokenRecord | None
    failure: FailureRecord | None
    leased: bool | None = None


class Lease(Protocol):
    """
    The right to log in or renew for all clients of the store, and to save the result.

    A lease has to end without its holder, as that process may be killed or stopped. It ends when it is
    released, or about 5 s after the last call of `extend`: others wait that long for a dead holder, and a
    living one may be late by that much. If the holder comes back later, its `extend` and `save` return
    False, and change nothing of its successor's.

    If a lease has ended and no other client has taken it, `extend` and `save` may revive it or return False:
    either is right, as nobody else has saved since.
    """

    @property
    def heartbeat(self) -> float | None:
        """
        Seconds between calls of `extend`, of which two in a row may get lost: a quarter of the lease.

        None if the lease lasts without them, and ends by itself with the process that holds it.
        """
        ...

    async def extend(self) -> bool:
        """Let the lease last for its full time from now on; return False if it is lost."""
        ...

    async def release(self) -> None:
        """Release the lease, for others to take at once; do nothing if it is lost."""
        ...


class TokenStore(Protocol):
    """
    Keeps one record per key for all clients that share it.

    Any method may raise anything: requests go on, from the memory of the process, and the failure is
    logged once. No method may block the event loop. Each is called with a timeout
    (`RenewalPolicy.store_timeout`), and cancelled when that is over.
    """

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """Return the record of *key*, if there is one."""
        ...

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """
        Replace the record of *key*, durably; do nothing and return False if *lease* is lost.

        Whether it is lost is decided in the same step that replaces the record. A call that is cancelled
        has saved all or nothing, and leaves nothing that could get in the way of a later save.
        """
        ...

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*."""
        ...

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """
        Take the lease of *key* if it is free, without waiting; None if another client holds it.

        A call that is cancelled has to release what it may have taken, quickly and in spite of the
        cancellation, or leave it to end by itself.
        """
        ...


@runtime_checkable
class FailureStore(TokenStore, Protocol):
    """
    A token store that also shares failures, so that clients fail once and not one after the other.

    The lease's holder saves what an endpoint answered; others look, and do not ask in vain. A
    store need not do this: with a plain `TokenStore` each process remembers its own failures. `save` and
    `clear` drop the failure of their key.
    """

    async def look(self, key: StoreKey, /) -> StoreView:
        """Return what there is for *key*, as cheaply as `load` would; a damaged failure counts as none."""
        ...

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        """Keep *failure* while it is remembered; do nothing and return False if *lease* is lost."""
        ...


@runtime_checkable
class CheckableStore(TokenStore, Protocol):
    """A token store that can be checked at start-up; the FastAPI and aiohttp integrations do that."""

    async def check(self) -> None:
        """
        Make each call once, for a key that belongs to nobody.

        Raises:
            TokenStoreError: If the store can't be used; it says why, and what to do.
        """
        ...
