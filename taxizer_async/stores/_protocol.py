"""The contract between the provider and a store, and the values that pass between them."""

from __future__ import annotations

from typing import Protocol

import attrs

from taxizer_async._core.models import Token


@attrs.frozen
class StoreKey:
    """Whose a record is: one API and one app."""

    base_url: str
    client_id: str


@attrs.frozen(kw_only=True)
class TokenRecord:
    """
    A token as a store keeps it; it holds durations, so that no two clocks need to agree.

    Attributes:
        token: The token.
        version: A random name, given when the token was issued.
        lifetime: Seconds that the token was good for when it was asked for.
        refresh_lifetime: The same of its refresh token; None if unknown.
        age: Seconds since it was asked for: at `save`, as of now; at `load`, again as of now. The
            store adds the time between the two.
        refresh_spent: Whether the refresh token was sent. Written before it is sent, so that a
            holder that dies on the way leaves word.
    """

    token: Token
    version: str
    lifetime: float
    refresh_lifetime: float | None
    age: float
    refresh_spent: bool


class Lease(Protocol):
    """The right to log in or renew for all that share the store; whoever has it saves."""

    @property
    def heartbeat(self) -> float | None:
        """Seconds after which `extend` is due, again and again; None if the lease lasts by itself."""
        ...

    async def extend(self) -> bool:
        """Say "still at it"; False if the lease is lost."""
        ...

    async def release(self) -> None:
        """Give it back; one that was lost stays with whoever has it now."""
        ...


class TokenStore(Protocol):
    """
    Keeps one record per key for all that share it.

    Any method may raise anything: requests go on, from the memory of the process, and the failure is
    logged once. None may block the event loop. Each is called with a timeout
    (`RenewalPolicy.store_timeout`).
    """

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """Return the record of *key*, if there is one."""
        ...

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """Replace the record of *key*, durably; False, and nothing done, if *lease* is lost."""
        ...

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*."""
        ...

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free, without waiting; None if somebody has it."""
        ...
