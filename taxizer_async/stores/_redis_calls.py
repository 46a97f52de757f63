"""
One call on Redis, made twice if need be: each script of the store can be repeated by its owner.

A firewall drops idle connections without a word, so a call is given up early and made once more, on a
new connection. The retries of redis-py are not relied on, as they differ from version to version, nor
are its time-outs, to which a stall of our own event loop is a silent server.

A store has a few dozen calls under way at a time. Each has a connection, and a process that opened hundreds at
once would take the time that this costs it for a silent server.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from taxizer_async._core.errors import TokenStoreError
from taxizer_async._core.turns import Countdown
from taxizer_async.stores._redis_errors import error_code, is_pool_empty


#: Seconds that a try may take on a connection that is open, counted in turns of the event loop ...
ANSWER_TIMEOUT: Final = 0.75
#: ... and that it may take if it has to open one first, with TLS and AUTH.
CONNECT_TIMEOUT: Final = 2.0
#: Calls to one client that an event loop has under way at the same time.
MOST_AT_ONCE: Final = 32
#: Seconds until a pool that has no connection left is asked again.
_POOL_PAUSE: Final = 0.02


class _Silent(enum.Enum):
    """Stands for the answer of a server that gave none."""

    SILENT = enum.auto()


async def call_redis(client: Any, call: Callable[[], Awaitable[Any]]) -> Any:
    """
    Return what *call*, a command of *client* that can be repeated, returns.

    Raises:
        TokenStoreError: If the server does not answer in time.
        Exception: What *client* raises.
    """
    is_connected = _is_connected(client)
    try:
        answer = await _within(ANSWER_TIMEOUT if is_connected else CONNECT_TIMEOUT, call)
    except Exception as cause:
        if not _may_be_repeated(cause):
            raise
    else:
        if answer is not _Silent.SILENT:
            return answer
        if not is_connected:
            msg = f"Redis has not answered within {CONNECT_TIMEOUT:g} s"
            raise TokenStoreError(msg)
    await _disconnect_idle(client)
    answer = await _within(CONNECT_TIMEOUT, call)
    if answer is _Silent.SILENT:
        msg = (
            f"Redis has not answered within {ANSWER_TIMEOUT:g} s, nor within {CONNECT_TIMEOUT:g} s on a "
            "new connection"
        )
        raise TokenStoreError(msg)
    return answer


async def _within(
    seconds: float, call: Callable[[], Awaitable[Any]]
) -> Any | Literal[_Silent.SILENT]:
    # Cancels once, where a scope of anyio's would cancel the client's cleaning up as well.
    limit = asyncio.timeout(None)
    try:
        async with limit:
            with Countdown(seconds, lambda: limit.reschedule(0)):
                return await _once_connected(call)
    except TimeoutError:
        if not limit.expired():
            raise
    return _Silent.SILENT


async def _once_connected(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what *call* returns; wait while all connections of the pool are in use."""
    while True:
        try:
            return await call()
        except Exception as cause:
            if not is_pool_empty(cause):
                raise
        await asyncio.sleep(_POOL_PAUSE)


def _may_be_repeated(cause: Exception) -> bool:
    """Return whether another connection may help: not if the server has answered."""
    # After a failover the old master refuses, and a new connection goes to the new one.
    return error_code(cause) in {None, "READONLY"}


def _is_connected(client: Any) -> bool:
    # A client with a single connection has taken it out of its pool.
    known = [*_idle_connections(client), getattr(client, "connection", None)]
    return any(getattr(each, "is_connected", False) for each in known)


async def _disconnect_idle(client: Any) -> None:
    """Have the next call open a connection: the idle ones are likely to be as dead as that of the last."""
    for each in _idle_connections(client):
        with contextlib.suppress(Exception):
            await each.disconnect(nowait=True)
    # redis-py 5.0 forgets the address of a node whose connection broke, and so that of a cluster of one.
    nodes = getattr(client, "nodes_manager", None)
    if nodes is not None and not nodes.startup_nodes:
        nodes.startup_nodes.update(nodes.nodes_cache)


def _idle_connections(client: Any) -> list[Any]:
    """Return the connections that the next call may be given; no version has a public name for them."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        return list(getattr(pool, "_available_connections", ()))
    nodes = client.get_nodes() if hasattr(client, "get_nodes") else ()
    return [each for node in nodes for each in getattr(node, "_free", ())]
