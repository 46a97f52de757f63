"""
Which connections to Redis are used where: `redis.asyncio` ties each to an event loop and to a process.

What is asked over them is not known here.
"""

from __future__ import annotations

import asyncio
import os
import threading

from typing import TYPE_CHECKING, Any, Final, TypeAlias, final
from weakref import WeakKeyDictionary, ref

from taxizer_async._core.errors import ConfigurationError, TokenStoreError


try:
    import redis
    import redis.asyncio

    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as _missing:
    _msg = 'RedisTokenStore needs redis: pip install "taxizer-async[redis]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable


RedisClient: TypeAlias = "redis.asyncio.Redis | redis.asyncio.RedisCluster"
RedisClients: TypeAlias = "UsersClient | ClientsOfUrl"

_CONNECT_TIMEOUT: Final = 2.0


def wrap_client(client: object) -> RedisClients | ConfigurationError:
    """
    Return it for use, or what is wrong: a value, as it may be a URL with a password in it.

    What `make_clients` returned stays what it is.
    """
    if isinstance(client, ClientsOfUrl):
        return client
    kind = type(client).__name__
    if isinstance(client, str):
        problem = "client must be one of redis.asyncio: for a URL there is RedisTokenStore.from_url"
    elif isinstance(client, (redis.Redis, redis.RedisCluster)):
        problem = f"client is a {kind} that blocks the event loop: give one of redis.asyncio"
    elif not callable(getattr(client, "eval", None)):
        problem = f"client must be one of redis.asyncio, not {kind}"
    else:
        return UsersClient(client)
    return ConfigurationError(problem)


@final
class UsersClient:
    """The user's own *client*, for the first event loop that it is used in."""

    __slots__ = ("_client", "_home")

    def __init__(self, client: object) -> None:
        self._client: Final[Any] = client
        self._home: tuple[int, ref[AbstractEventLoop]] | None = None

    def here(self) -> Any:
        """
        Return it.

        Raises:
            ConfigurationError: On trio.
            TokenStoreError: If it is in use in another event loop or process.
        """
        loop = _running_loop()
        pid, home = (os.getpid(), loop) if self._home is None else (self._home[0], self._home[1]())
        if pid != os.getpid():
            where = "process"
        elif home is not None and home is not loop and not home.is_closed():
            where = "event loop"
        else:
            self._home = pid, ref(loop)
            return self._client
        msg = (
            f"the client of this RedisTokenStore is in use in another {where}, and can't be shared: "
            "use RedisTokenStore.from_url, which makes one for each"
        )
        raise TokenStoreError(msg)

    async def aclose(self) -> None:
        """Do nothing: it is the user's."""


def make_clients(url: object, options: dict[str, Any]) -> ClientsOfUrl | ConfigurationError:
    """
    Return clients, or what is wrong: a value, as the frames of who raises must not have the password.

    Args:
        url: Where Redis is.
        options: For `redis.asyncio.Redis.from_url`.
    """
    if not isinstance(url, str):
        return ConfigurationError(f"url must be a str, not {type(url).__name__}")
    # One more try, at once, is for a connection that was kept and has ended meanwhile.
    mild = {"socket_connect_timeout": _CONNECT_TIMEOUT, "retry": Retry(NoBackoff(), 1)}
    everything: dict[str, Any] = mild | options
    library: Any = redis.asyncio.Redis
    clients = ClientsOfUrl(lambda: library.from_url(url, **everything))
    try:
        client: Any = clients.make()
        # Only a connection reads the options; it is not opened by being made.
        client.connection_pool.make_connection()
    except Exception as cause:  # noqa: BLE001 - whatever redis makes of it; its text may quote the URL
        return ConfigurationError(
            f"no Redis client could be made of this URL and these options ({type(cause).__name__}): "
            "the URL is like redis://host:6379/0"
        )
    return clients


@final
class ClientsOfUrl:
    """A client per event loop, of *make*."""

    __slots__ = ("_clients", "_inherited", "_mutex", "_pid", "make")

    def __init__(self, make: Callable[[], redis.asyncio.Redis]) -> None:
        self.make: Final = make
        self._inherited: list[object] = []
        self._start_anew()

    def here(self) -> Any:
        """
        Return the one of the running event loop.

        Raises:
            ConfigurationError: On trio.
        """
        loop = _running_loop()
        if self._pid != os.getpid():
            # They are the parent's: closing them here would end them there, so they are kept.
            self._inherited.append(self._clients)
            self._start_anew()
        with self._mutex:
            client = self._clients.get(loop)
            if client is None:
                self._drop_ended()
                client = self._clients[loop] = self.make()
            return client

    async def aclose(self) -> None:
        """Close the one of the running event loop."""
        loop = _running_loop()
        if self._pid != os.getpid():
            return  # what is there is the parent's, as its mutex is
        with self._mutex:
            client = self._clients.pop(loop, None)
        if client is not None:
            await client.aclose()

    def _start_anew(self) -> None:
        self._mutex = threading.Lock()
        self._clients: WeakKeyDictionary[AbstractEventLoop, redis.asyncio.Redis] = (
            WeakKeyDictionary()
        )
        self._pid = os.getpid()

    def _drop_ended(self) -> None:
        # Connections refer to their loop, so no collector ever finds them here.
        for loop in [loop for loop in self._clients if loop.is_closed()]:
            del self._clients[loop]


def _running_loop() -> AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        msg = (
            "RedisTokenStore needs asyncio, as redis.asyncio does not run on trio: run on asyncio, or "
            "share the token through a FileTokenStore"
        )
    raise ConfigurationError(msg)
