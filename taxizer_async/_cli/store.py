"""
The commands `store show` and `store clear`, which print no secret of the store.

They call no endpoint and take no lease, so they never disturb a renewal.
"""

from __future__ import annotations

import math

from typing import TYPE_CHECKING, Final

import anyio
import typer

from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._cli.options import BaseUrl, LastingStore, RedisUrl, StorePath, read_store_config
from taxizer_async._cli.output import expiry_rows, owner_rows, seconds, show_rows
from taxizer_async._cli.store_config import SharedStore, StoreConfig, StoreKind, closing
from taxizer_async._core.clock import SystemClock
from taxizer_async._core.environment import DEFAULT_BASE_URL, read_variable
from taxizer_async._core.errors import TokenStoreError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.policy import Freshness, RenewalPolicy
from taxizer_async._http.urls import parse_base_url
from taxizer_async._token.cached_token import CachedToken, from_record
from taxizer_async._token.guarded_store import GuardedStore
from taxizer_async.stores import StoreKey


if TYPE_CHECKING:
    from taxizer_async.stores import TokenRecord, TokenStore


_POLICY: Final = RenewalPolicy()
_CLOCK: Final = SystemClock()
_STATES: Final = {
    Freshness.FRESH: "fresh",
    Freshness.RENEW_AHEAD: "renewal due",
    Freshness.MUST_RENEW: "renewal due",
    Freshness.EXPIRED: "ended",
}

app: Final = typer.Typer(help="See or drop the token that is kept in a store.")


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def show(
    context: typer.Context,
    base_url: BaseUrl = None,
    store: LastingStore = SharedStore.FILE,
    store_path: StorePath = None,
    redis_url: RedisUrl = None,
) -> None:
    """
    Show the token that is kept for TAXIZER_CLIENT_ID, without its secrets.

    Needs no client secret. Exits with 0 if a token is kept, 1 if none is, 3 if the store can't be read.
    """
    config = read_store_config(context, store, store_path, redis_url)
    key = _key(base_url)
    record = anyio.run(_load, config.create(), key)
    show_rows([*_place_rows(config, key), *_record_rows(record)])
    if record is None:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def clear(
    context: typer.Context,
    base_url: BaseUrl = None,
    store: LastingStore = SharedStore.FILE,
    store_path: StorePath = None,
    redis_url: RedisUrl = None,
) -> None:
    """
    Drop the token that is kept for TAXIZER_CLIENT_ID; the next process that needs one logs in.

    The token itself stays good until it ends, and processes that have it go on using it. Exits with 0,
    even if no token was kept, or 3 if the store can't be written.
    """
    config = read_store_config(context, store, store_path, redis_url)
    anyio.run(_clear, config.create(), _key(base_url))


def _key(base_url: str | None) -> StoreKey:
    url = str(parse_base_url(base_url or DEFAULT_BASE_URL)).rstrip("/")
    return StoreKey(url, read_variable("TAXIZER_CLIENT_ID").reveal())


async def _load(store: TokenStore, key: StoreKey) -> TokenRecord | None:
    guarded = _guarded(store)
    async with closing(store):
        record = await guarded.load(key)
    if guarded.failing is None:
        return record
    msg = f"the store can't be read ({guarded.failing})"
    raise TokenStoreError(msg)


async def _clear(store: TokenStore, key: StoreKey) -> None:
    guarded = _guarded(store)
    async with closing(store):
        await guarded.clear(key)
    if guarded.failing is not None:
        msg = f"the store could not drop the token ({guarded.failing})"
        raise TokenStoreError(msg)


def _guarded(store: TokenStore) -> GuardedStore:
    # Bounds the wait, and describes an error without quoting it.
    event_log = EventLog(None, timeout=_POLICY.hook_timeout)
    return GuardedStore(store, timeout=_POLICY.store_timeout, event_log=event_log)


def _place_rows(config: StoreConfig, key: StoreKey) -> list[tuple[str, str | None]]:
    place = f"file in {config.directory}" if config.kind is StoreKind.FILE else config.kind.value
    return [
        ("base_url", key.base_url),
        ("client_id", key.client_id),
        ("store", place),
        ("encryption", "on" if config.encryption_keys else "off"),
    ]


def _record_rows(record: TokenRecord | None) -> list[tuple[str, str | None]]:
    if record is None:
        return [("token", "none")]
    cached = from_record(record, clock=_CLOCK, policy=_POLICY, jitter=0.0)
    left = cached.remaining(_CLOCK)
    return [
        ("token", _STATES[cached.freshness(_CLOCK)]),
        ("age", seconds(record.age)),
        *expiry_rows(record.token, max(0.0, left) if math.isfinite(left) else None),
        ("refresh_token", _refresh_state(cached)),
        *owner_rows(record.token),
    ]


def _refresh_state(cached: CachedToken) -> str:
    if cached.token.refresh_token is None:
        return "none"
    if cached.refresh_spent:
        return "spent"
    return "good" if cached.refreshable(_CLOCK) else "expired"
