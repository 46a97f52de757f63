"""The contract of a token store, and the values that are passed to it."""

from __future__ import annotations

from typing import Protocol

import attrs

from taxizer_async._core.models import Token


@attrs.frozen
class StoreKey:
    """Identifies a record: one API and one app."""

    base_url: str
    client_id: str


@attrs.frozen(kw_only=True)
class TokenRecord:
    """
    A token as a store keeps it, with durations rather than times, so that no two clocks need to agree.

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


class Lease(Protocol):
    """The right to log in or renew for all clients of the store, and to save the result."""

    @property
    def heartbeat(self) -> float | None:
        """Seconds between calls of `extend`; None if the lease lasts without them."""
        ...

    async def extend(self) -> bool:
        """Keep the lease; return False if it is lost."""
        ...

    async def release(self) -> None:
        """Release the lease; do nothing if it is lost."""
        ...


class TokenStore(Protocol):
    """
    Keeps one record per key for all clients that share it.

    Any method may raise anything: requests go on, from the memory of the process, and the failure is
    logged once. No method may block the event loop. Each is called with a timeout
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
        """Take the lease of *key* if it is free, without waiting; None if another client holds it."""
        ...
