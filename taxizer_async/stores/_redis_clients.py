"""Clients of `redis.asyncio` or `valkey.asyncio`, each of which works in one event loop of one process."""

from __future__ import annotations

import asyncio
import sys

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias, final
from weakref import ref

import anyio

from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.helper_loop import HelperLoop
from taxizer_async._core.per_loop import PerLoop
from taxizer_async._core.process import PerProcess
from taxizer_async._core.turns import move_on_after_turns
from taxizer_async.stores._redis_calls import CONNECT_TIMEOUT, MOST_AT_ONCE


try:
    import redis
    import redis.asyncio

    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as _missing:
    _msg = 'RedisTokenStore needs redis: pip install "taxizer-async[redis]"'
    raise ImportError(_msg) from _missing


class RedisClient(Protocol):
    """An async client of Redis or Valkey, of one server, a Sentinel or a cluster."""

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any: ...

    def aclose(self) -> Awaitable[None]:
        """Close it; this method is what sync clients lack."""
        ...


RedisClients: TypeAlias = "BorrowedClient | ClientPerLoop"

_SYNC_CLIENTS: Final = {"redis": ("Redis", "RedisCluster"), "valkey": ("Valkey", "ValkeyCluster")}


def wrap_client(client: object) -> RedisClients | ConfigurationError:
    """
    Return *client* for use, or the error to raise (see `_core.secret`): it may be a URL with a password.

    What `make_clients` returned is returned as it is.
    """
    if isinstance(client, ClientPerLoop):
        return client
    kind = type(client).__name__
    if isinstance(client, str):
        problem = "client must be a redis.asyncio client; for a URL use RedisTokenStore.from_url"
    elif (library := _library_of_sync(client)) is not None:
        problem = (
            f"client is a {kind}, which blocks the event loop: pass a {library}.asyncio client"
        )
    elif not callable(getattr(client, "eval", None)):
        problem = f"client must be a redis.asyncio or valkey.asyncio client, not {kind}"
    else:
        return BorrowedClient(client)
    return ConfigurationError(problem)


def _library_of_sync(client: object) -> str | None:
    """Return the library of a sync *client*; None if it is something else."""
    for library, names in _SYNC_CLIENTS.items():
        # There is no client of a library that was not imported.
        module = sys.modules.get(library)
        if module and isinstance(client, tuple(getattr(module, name) for name in names)):
            return library
    return None


@final
class BorrowedClient:
    """The user's own *client*, for the event loop that it is first used in."""

    __slots__ = ("_client", "_home", "limit")

    def __init__(self, client: object) -> None:
        self.limit: Final = _make_limit()
        self._client: Final[Any] = client
        self._home: PerProcess[ref[AbstractEventLoop]] | None = None

    def current(self) -> Any:
        """
        Return the client.

        Raises:
            ConfigurationError: On trio, and for sync callers.
            TokenStoreError: If it is in use in another event loop or process.
        """
        loop = _running_loop()
        if isinstance(loop, HelperLoop):
            msg = (
                "the client of this RedisTokenStore belongs to an event loop of yours, and sync callers "
                "have none: use RedisTokenStore.from_url, which makes one for each"
            )
            raise ConfigurationError(msg)
        if self._home is not None and self._home.is_inherited:
            where = "process"
        else:
            home = loop if self._home is None else self._home.get()()
            if home is None or home is loop or home.is_closed():
                here = ref(loop)
                self._home = PerProcess(lambda: here)
                return self._client
            where = "event loop"
        msg = (
            f"the client of this RedisTokenStore is in use in another {where}, and can't be shared: "
            "use RedisTokenStore.from_url, which makes one for each"
        )
        raise TokenStoreError(msg)

    async def aclose(self) -> None:
        """Do nothing: the user closes it."""


def make_clients(url: object, options: dict[str, Any]) -> ClientPerLoop | ConfigurationError:
    """
    Return clients, or the error to raise (see `_core.secret`): *url* may have a password in it.

    Args:
        url: Where Redis is.
        options: For `redis.asyncio.Redis.from_url`.
    """
    if not isinstance(url, str):
        return ConfigurationError(f"url must be a str, not {type(url).__name__}")
    everything: dict[str, Any] = {
        # Ours are in `_redis_calls`.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }
    library: Any = redis.asyncio.Redis
    clients = ClientPerLoop(lambda: library.from_url(url, **everything))
    try:
        client: Any = clients.make()
        # Options are only checked when a connection is made; this does not open it.
        connection = client.connection_pool.make_connection()
    except Exception as cause:  # noqa: BLE001 - redis raises various classes, whose text may quote the URL
        return ConfigurationError(
            f"no Redis client could be made of this URL and these options ({type(cause).__name__}): "
            "a URL looks like redis://host:6379/0"
        )
    if hasattr(connection, "driver_info"):
        # Or redis-py would read its version from a file for each connection, in the event loop.
        everything["driver_info"] = connection.driver_info
    return clients


@final
class ClientPerLoop:
    """
    A client for each event loop, made by *make*.

    A forked child leaves its parent's alone: closing them would end their connections there.
    """

    __slots__ = ("_clients", "limit", "make")

    def __init__(self, make: Callable[[], redis.asyncio.Redis]) -> None:
        self.limit: Final = _make_limit()
        self.make: Final = make
        self._clients: Final = PerLoop(self._open)

    def current(self) -> Any:
        """
        Return the client of the running event loop.

        Raises:
            ConfigurationError: On trio.
        """
        return self._clients.here()

    def _open(self) -> redis.asyncio.Redis:
        loop = _running_loop()
        if isinstance(loop, HelperLoop):
            loop.before_end.append(self.aclose)
        return self.make()

    async def aclose(self) -> None:
        _running_loop()
        client = self._clients.pop()
        if client is None:
            return
        # A connection whose other end is gone waits for TLS to be closed.
        with move_on_after_turns(CONNECT_TIMEOUT):
            await client.aclose()


def _make_limit() -> PerLoop[anyio.Semaphore]:
    return PerLoop(lambda: anyio.Semaphore(MOST_AT_ONCE, fast_acquire=True))


def _running_loop() -> AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        msg = (
            "RedisTokenStore needs asyncio, as redis.asyncio does not run on trio: run on asyncio, or "
            "share the token through a FileTokenStore"
        )
    raise ConfigurationError(msg)
