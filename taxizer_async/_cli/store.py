"""
The commands `store show` and `store clear`, which print no secret of the store.

They call no endpoint and take no lease, so they never disturb a renewal.
"""

from __future__ import annotations

import math

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import typer

from taxizer_async._cli.exit_codes import ExitCode
from taxizer_async._cli.help import CommandHelp, GroupHelp
from taxizer_async._cli.options import Json, with_store
from taxizer_async._cli.output import Row, expiry_rows, owner_rows, require_command, show_rows
from taxizer_async._cli.store_config import SharedStore, StoreConfig, closing
from taxizer_async._core.clock import SystemClock
from taxizer_async._core.environment import read_variable
from taxizer_async._core.errors import TokenStoreError
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.models import TokenState
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.urls import parse_base_url
from taxizer_async._token.cached_token import CachedToken, from_record, token_state
from taxizer_async._token.guarded_store import GuardedStore
from taxizer_async.stores import StoreKey, TokenRecord


T = TypeVar("T")

_POLICY: Final = RenewalPolicy()
_CLOCK: Final = SystemClock()

app: Final = typer.Typer(
    cls=GroupHelp, rich_markup_mode=None, help="See or drop the token that is kept in a store."
)
app.callback(invoke_without_command=True)(require_command)


@app.command(cls=CommandHelp)
@with_store(SharedStore.FILE)
def show(base_url: str, store: StoreConfig, *, json: Json = False) -> None:
    """
    Show the token that is kept for TAXIZER_CLIENT_ID, without its secrets.

    Needs no client secret. Exits with 0 if a token is kept, 1 if none is, 3 if the store can't be read.
    """
    key = _key(base_url)
    record = anyio.run(_call, store, GuardedStore.look, key, "the store can't be read").record
    show_rows([*_place_rows(store, key), *_record_rows(record)], as_json=json)
    if record is None:
        raise typer.Exit(ExitCode.FAILED)


@app.command(cls=CommandHelp)
@with_store(SharedStore.FILE)
def clear(base_url: str, store: StoreConfig) -> None:
    """
    Drop the token that is kept for TAXIZER_CLIENT_ID; the next process that needs one logs in.

    The token itself stays good until it expires, and processes that have it go on using it. Exits with 0,
    even if no token was kept, or 3 if the store can't be written.
    """
    key = _key(base_url)
    anyio.run(_call, store, GuardedStore.clear, key, "the store could not drop the token")


def _key(base_url: str) -> StoreKey:
    url = str(parse_base_url(base_url)).rstrip("/")
    return StoreKey(url, read_variable("TAXIZER_CLIENT_ID").reveal())


async def _call(
    config: StoreConfig,
    call: Callable[[GuardedStore, StoreKey], Awaitable[T]],
    key: StoreKey,
    problem: str,
) -> T:
    """
    Return what *call* returns for *key*.

    Raises:
        TokenStoreError: If the store failed; it names the *problem*.
    """
    store = config.create()
    # Bounds the wait, and describes an error without quoting it.
    event_log = EventLog(None, timeout=_POLICY.hook_timeout)
    guarded = GuardedStore(
        store, timeout=_POLICY.store_timeout, clock=SystemClock(), event_log=event_log
    )
    async with closing(store):
        result = await call(guarded, key)
    if guarded.failing is None:
        return result
    msg = f"{problem} ({guarded.failing})"
    raise TokenStoreError(msg)


def _place_rows(config: StoreConfig, key: StoreKey) -> list[Row]:
    return [
        ("base_url", key.base_url),
        ("client_id", key.client_id),
        ("store", config.place),
        ("encryption", "on" if config.encryption_keys else "off"),
    ]


def _record_rows(record: TokenRecord | None) -> list[Row]:
    if record is None:
        return [("token", TokenState.NONE)]
    cached = from_record(record, clock=_CLOCK, policy=_POLICY, jitter=0.0)
    left = cached.remaining(_CLOCK)
    return [
        ("token", token_state(cached, _CLOCK)),
        ("age", record.age),
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
