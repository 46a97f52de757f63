"""Tokens, records and outcomes with defaults, as they are when a new `ManualClock` is at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taxizer_async import RenewalPolicy, Secret, Token
from taxizer_async._core.exchange import Issued
from taxizer_async._token.cached_token import CachedToken
from taxizer_async.stores import TokenRecord
from taxizer_async.testing import ManualClock


if TYPE_CHECKING:
    from taxizer_async._token.cache import TokenCache


NOW = ManualClock().monotonic()


def make_token(name: str = "1") -> Token:
    """Return the token *name*."""
    return Token(jwt=Secret(f"jwt-{name}"), refresh_token=Secret(f"refresh-{name}"))


def make_cached(name: str = "1", *, lifetime: float = 3600.0, **changes: Any) -> CachedToken:
    """Return the cached token *name*."""
    fields: dict[str, Any] = {
        "token": make_token(name),
        "version": f"version-{name}",
        "lifetime": lifetime,
        "schedule": RenewalPolicy().schedule(lifetime, 0.5),
        "requested_at": NOW,
        "refresh_lifetime": None,
    }
    return CachedToken(**fields | changes)


def make_record(name: str = "1", **changes: Any) -> TokenRecord:
    """Return the record of the token *name*."""
    fields: dict[str, Any] = {
        "token": make_token(name),
        "version": f"version-{name}",
        "lifetime": 3600.0,
        "refresh_lifetime": None,
        "age": 0.0,
        "refresh_spent": False,
    }
    return TokenRecord(**fields | changes)


def make_issued(**changes: Any) -> Issued:
    """Return the outcome of an exchange that was answered at once."""
    fields: dict[str, Any] = {
        "token": make_token(),
        "lifetime": 3600.0,
        "refresh_lifetime": 7200.0,
        "requested_at": NOW,
        "elapsed": 0.1,
    }
    return Issued(**fields | changes)


def issue(cache: TokenCache, cached: CachedToken, *, login: bool = True) -> CachedToken:
    """Have *cache* take *cached* as just issued."""
    assert cache.set_issued(cached, login=login, elapsed=0.1, generation=cache.state.generation)
    return cached
