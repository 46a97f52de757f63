"""Tokens, records, outcomes and providers with defaults; a `ManualClock` stands at its start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taxizer_async import Credentials, RenewalPolicy, Secret, Token
from taxizer_async._core.clock import Clock
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.exchange import Exchange, Issued
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.credentials_source import CredentialsSource
from taxizer_async._token.provider import TokenProvider
from taxizer_async._token.renewal_request import Endpoints
from taxizer_async.stores import FailureRecord, TokenRecord, TokenStore
from taxizer_async.testing import ManualClock
from tests.support.limits import HANG


BASE_URL = "https://apistaging.taxizer.com"
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


def make_failure(**changes: Any) -> FailureRecord:
    """Return the record of a 503 of Connect."""
    fields: dict[str, Any] = {
        "kind": "unavailable",
        "endpoint": f"{BASE_URL}/v1/Auth/Connect",
        "status_code": 503,
        "text": "answered 503 Service Unavailable",
        "pair": None,
        "failures": 3,
        "ahead_of_need": False,
        "remaining": 60.0,
    }
    return FailureRecord(**fields | changes)


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


def make_provider(
    exchange: Exchange,
    store: TokenStore,
    clock: Clock,
    random: Callable[[], float] = lambda: 0.5,
    policy: RenewalPolicy | None = None,
) -> TokenProvider:
    """Return a provider of tokens from *exchange*."""
    return TokenProvider(
        endpoints=Endpoints(base_url=BASE_URL, connect="/c", refresh="/r"),
        credentials=CredentialsSource(Credentials("app", "s3cret")),
        exchange=exchange,
        store=store,
        policy=policy or RenewalPolicy(),
        clock=clock,
        random=random,
        event_log=EventLog(None, timeout=HANG),
    )
