"""
The store in Redis: the processes of any number of machines share a token.

Needs the extra: `pip install "taxizer-async[redis]"`. Lua scripts make each step atomic, and only the
server's clock decides about a lease and about the age of a token.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets

from collections.abc import Iterator
from typing import Any, Final, NoReturn, Self, cast, final

import attrs

from taxizer_async._core.errors import ConfigurationError, TaxizerError, TokenStoreError
from taxizer_async._core.turns import move_on_after_turns
from taxizer_async.stores._check import probe
from taxizer_async.stores._encryption import (
    EncryptionKey,
    OpaqueBytes,
    RecordCipher,
    make_record_cipher,
)
from taxizer_async.stores._protocol import (
    HEARTBEAT,
    LEASE_SECONDS,
    FailureRecord,
    Lease,
    StoreKey,
    StoreView,
    TokenRecord,
    with_remaining,
)
from taxizer_async.stores._records import RECORD_FORMAT, Stored
from taxizer_async.stores._redis_calls import call_redis
from taxizer_async.stores._redis_clients import RedisClient, RedisClients, make_clients, wrap_client
from taxizer_async.stores._redis_errors import explain


__all__ = ["RedisTokenStore"]

#: Seconds that a cancelled call spends on releasing a lease that it may have got.
_RELEASE_TIMEOUT: Final = 0.25
#: Seconds that a record outlives the tokens in it.
_TTL_MARGIN: Final = 60.0
#: Seconds that a record is kept if its refresh token has no known end.
_UNKNOWN_LIFE: Final = 30 * 86_400.0
_LONGEST_LIFE: Final = 3_650 * 86_400.0
_NAMESPACE: Final = "taxizer_async"
#: Braces would choose another cluster slot, and the others are special in the patterns of ACLs.
_PREFIX: Final = re.compile(r"(?:(?![{}*?\[\]^\\])[!-~])*")

# Each may be made twice, as the first answer may be lost: the owner takes its lease again.
# A lease that would last longer than it should, as after a restore without TTLs, or once the clock was set back,
# gets its end back; a holder that lives extends it.
_LEASE: Final = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0
"""
# Behind the owner's name the lease has the number of its last save.
_HELD: Final = """
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
"""
_EXTEND: Final = f"""{_HELD}
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = f"""{_HELD}
return redis.call('DEL', KEYS[1])
"""
# A try that was given up may still be on its way: it must not undo what its owner has saved since.
_IN_ORDER: Final = f"""{_HELD}
if (tonumber(string.sub(held, #ARGV[1] + 2)) or 0) > tonumber(ARGV[4]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[4], 'PX', ARGV[5])
"""
_SAVE: Final = f"""{_IN_ORDER}
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return 1
"""
_SAVE_FAILURE: Final = f"""{_IN_ORDER}
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
return 1
"""
_LOOK: Final = """
return {
    redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2]),
    redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3]),
    redis.call('PTTL', KEYS[1])
}
"""
_CLEAR: Final = "return redis.call('DEL', KEYS[2], KEYS[3])"


@final
class RedisTokenStore:
    """
    Shares tokens among all machines that reach one Redis.

    A call that is not answered within 0.75 s, or whose connection breaks, is made once more on a new
    connection: the client's own retries and time-outs need not be set. All methods raise what the client
    raises, and `TokenStoreError` if Redis does not answer in time.

    Args:
        client: Your own client of `redis.asyncio` (`Redis`, one of a Sentinel, or `RedisCluster`) or of
            `valkey.asyncio`. It is used in one event loop, and you close it.
        prefix: Comes before the name of each key, as in `"staging:"`, so that several environments or
            tenants share one Redis: visible ASCII without braces and the characters of patterns.
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. Without
            one Redis holds the tokens in plain text.

    Raises:
        ConfigurationError: If an argument is wrong, or encryption is wanted but not installed; and by all
            methods on trio, which `redis.asyncio` does not support.
    """

    __slots__ = ("_cipher", "_clients", "_prefix")

    def __init__(
        self, client: RedisClient, *, prefix: str = "", encryption_key: EncryptionKey | None = None
    ) -> None:
        parts = make_record_cipher(encryption_key), wrap_client(client)
        # Not in a frame that raises: see `_core.secret`.
        del encryption_key, client
        self._cipher, self._clients = _checked(*parts)
        self._prefix: Final = _checked_prefix(prefix)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "",
        encryption_key: EncryptionKey | None = None,
        **options: Any,
    ) -> Self:
        """
        Make a store with clients of its own, one per event loop: close them with `aclose`.

        Args:
            url: `redis://`, `rediss://` or `unix://`, as for `redis.asyncio.Redis.from_url`.
            prefix: As for the class.
            encryption_key: As for the class.
            options: For `redis.asyncio.Redis.from_url`.

        Raises:
            ConfigurationError: If the URL, an option or the key is wrong.
        """
        parts = make_record_cipher(encryption_key), make_clients(url, options)
        # Not in a frame that raises: see `_core.secret`.
        del encryption_key, url, options
        cipher, clients = _checked(*parts)
        return cls(cast("Any", clients), prefix=prefix, encryption_key=cast("Any", cipher))

    async def __aenter__(self) -> Self:
        """Return the store itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of this event loop, unless the client is yours; later calls reopen them."""
        await self._clients.aclose()

    async def check(self) -> None:
        """
        Connect, and use each right that is needed, on keys that are gone afterwards.

        Raises:
            TokenStoreError: If Redis can't be used; it says why, and what to do.
        """
        try:
            await probe(self, secrets.token_hex())
        except TaxizerError:
            raise
        except Exception as cause:  # noqa: BLE001 - whatever a client raises
            msg = explain(cause, f"{self._prefix}{_NAMESPACE}:*")
        else:
            return
        raise TokenStoreError(msg)

    async def load(self, key: StoreKey, /) -> TokenRecord | None:
        """
        Return the record of *key*, if there is one.

        Raises:
            TokenStoreError: If it is damaged, or encrypted with another key.
        """
        return (await self.look(key)).record

    async def look(self, key: StoreKey, /) -> StoreView:
        """Return the record and the failure of *key*, and whether the lease is held; raises as `load` does."""
        content, left, failure, remaining, lease = await self._eval(_LOOK, key)
        return StoreView(
            record=self._read(content, left, key),
            failure=self._read_failure(failure, remaining, key),
            # Not if there is none, nor if it is to be given an end.
            leased=0 <= lease <= _milliseconds(LEASE_SECONDS),
        )

    async def save(self, key: StoreKey, record: TokenRecord, lease: Lease, /) -> bool:
        """Replace the record of *key*; False, and nothing done, if *lease* is lost."""
        if not isinstance(lease, _RedisLease):
            return False
        ttl = _milliseconds(_life(record))
        data = self._cipher.encrypt(Stored(key=key, content=record, written={"ttl": ttl}))
        return await self._save(_SAVE, key, data, ttl, lease)

    async def save_failure(self, key: StoreKey, failure: FailureRecord, lease: Lease, /) -> bool:
        """Keep *failure* while it is remembered; False, and nothing done, if *lease* is lost."""
        if not isinstance(lease, _RedisLease):
            return False
        ttl = max(1, _milliseconds(failure.remaining))
        data = self._cipher.encrypt(Stored(key=key, content=failure, written={}))
        return await self._save(_SAVE_FAILURE, key, data, ttl, lease)

    async def clear(self, key: StoreKey, /) -> None:
        """Drop the record of *key*, and its failure."""
        await self._eval(_CLEAR, key)

    async def lease(self, key: StoreKey, /) -> Lease | None:
        """Take the lease of *key* if it is free; it expires after `LEASE_SECONDS`."""
        lease = _RedisLease(self._clients, _keys(self._prefix, key)[0])
        try:
            return lease if await lease.take() else None
        except asyncio.CancelledError:
            # Redis may have granted it, and only the reply was not read.
            with move_on_after_turns(_RELEASE_TIMEOUT, shield=True):
                await lease.release()
            raise

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would contain the encryption key."""
        msg = f"{type(self).__name__} can't be pickled: make one in each process"
        raise TypeError(msg)

    async def _save(
        self, script: str, key: StoreKey, data: OpaqueBytes, ttl: int, lease: _RedisLease
    ) -> bool:
        number, end = next(lease.numbers), _milliseconds(LEASE_SECONDS)
        return bool(await self._eval(script, key, lease.owner, data, ttl, number, end))

    async def _eval(self, script: str, key: StoreKey, *values: str | int | OpaqueBytes) -> Any:
        return await _eval(self._clients, script, _keys(self._prefix, key), *values)

    def _read(self, content: bytes | str | None, left: int, key: StoreKey) -> TokenRecord | None:
        if content is None:
            return None
        stored = self._cipher.decrypt(_opaque(content), key)
        of = stored.written.get("ttl")
        if not isinstance(of, float) or left < 0:
            msg = "the record does not say how old it is; it is replaced at the next login"
            raise TokenStoreError(msg)
        return attrs.evolve(stored.content, age=stored.content.age + max(0.0, of - left) / 1000)

    def _read_failure(
        self, content: bytes | str | None, left: int, key: StoreKey
    ) -> FailureRecord | None:
        stored = None if content is None else self._cipher.decrypt_failure(_opaque(content), key)
        if stored is None:
            return None
        return with_remaining(stored.content, min(stored.content.remaining, left / 1000))


@final
@attrs.define(eq=False, repr=False)
class _RedisLease:
    _clients: RedisClients
    _key: str
    owner: str = attrs.field(factory=secrets.token_hex)
    #: Of its saves, in their order.
    numbers: Iterator[int] = attrs.field(factory=itertools.count)

    @property
    def heartbeat(self) -> float | None:
        return HEARTBEAT

    async def take(self) -> bool:
        return await self._run(_LEASE, _milliseconds(LEASE_SECONDS))

    async def extend(self) -> bool:
        return await self._run(_EXTEND, _milliseconds(LEASE_SECONDS))

    async def release(self) -> None:
        await self._run(_RELEASE)

    async def _run(self, script: str, *values: int) -> bool:
        return bool(await _eval(self._clients, script, [self._key], self.owner, *values))


def _checked(
    cipher: RecordCipher | ConfigurationError, clients: RedisClients | ConfigurationError
) -> tuple[RecordCipher, RedisClients]:
    if isinstance(cipher, ConfigurationError):
        raise cipher
    if isinstance(clients, ConfigurationError):
        raise clients
    return cipher, clients


async def _eval(
    clients: RedisClients, script: str, keys: list[str], *values: str | int | OpaqueBytes
) -> Any:
    # An error reporter may show the arguments of a command: a view shows no content.
    plain = [memoryview(each.content) if isinstance(each, OpaqueBytes) else each for each in values]
    client = clients.current()
    async with clients.limit.here():
        return await call_redis(client, lambda: client.eval(script, len(keys), *keys, *plain))


def _keys(prefix: str, key: StoreKey) -> list[str]:
    """Return the keys of lease, record and failure; the braces put all into one cluster slot."""
    stem = f"{prefix}{_NAMESPACE}:{RECORD_FORMAT}:{{{key.digest}}}"
    return [f"{stem}:lease", f"{stem}:token", f"{stem}:failure"]


def _opaque(content: bytes | str) -> OpaqueBytes:
    # A client may decode responses.
    return OpaqueBytes(content.encode() if isinstance(content, str) else content)


def _checked_prefix(prefix: object) -> str:
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return prefix
    kind = "" if isinstance(prefix, str) else f", not {type(prefix).__name__}"
    msg = f"prefix must be a str of visible ASCII without any of {{}}*?[]^\\{kind}, such as 'staging:'"
    raise ConfigurationError(msg)


def _life(record: TokenRecord) -> float:
    """Return the seconds that the record is kept."""
    refresh = record.refresh_lifetime
    if record.token.refresh_token is None:
        refresh = record.lifetime
    elif refresh is None:
        refresh = _UNKNOWN_LIFE
    life = max(record.lifetime, refresh, record.age) - record.age
    return min(life + _TTL_MARGIN, _LONGEST_LIFE)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
