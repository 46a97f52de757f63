"""The token store that a user asked for, as a value; the store's own libraries are imported when it is created."""

from __future__ import annotations

import contextlib
import enum
import os

from collections.abc import AsyncGenerator
from typing import Final

import attrs
import platformdirs

from taxizer_async._core.environment import find_variable
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret
from taxizer_async.stores import MemoryTokenStore, TokenStore


ENCRYPTION_KEY: Final = "TAXIZER_ENCRYPTION_KEY"


class SharedStore(enum.StrEnum):
    """The kinds of store that outlive a process."""

    FILE = "file"
    REDIS = "redis"


class StoreKind(enum.StrEnum):
    """All kinds of store."""

    MEMORY = "memory"
    FILE = "file"
    REDIS = "redis"


@attrs.frozen(kw_only=True)
class StoreConfig:
    """What a store is created from; *redis_prefix* comes before the name of each of its keys."""

    kind: StoreKind
    path: str | None = None
    redis_url: Secret | None = None
    redis_prefix: str = ""

    @property
    def encryption_keys(self) -> tuple[Secret, ...]:
        """
        The keys in `TAXIZER_ENCRYPTION_KEY`, or in the file that its `_FILE` variant names.

        The first one encrypts, and any of them decrypts; commas or white space separate them.

        Raises:
            ConfigurationError: If one of the variables is set but holds no key, as tokens that were meant to
                be encrypted would be kept in the clear.
        """
        if self.kind is StoreKind.MEMORY:
            return ()
        found = find_variable(ENCRYPTION_KEY)
        keys = () if found is None else tuple(map(Secret, found.reveal().replace(",", " ").split()))
        variables = (ENCRYPTION_KEY, f"{ENCRYPTION_KEY}_FILE")
        if not keys and any(name in os.environ for name in variables):
            msg = f"{ENCRYPTION_KEY} has no key in it: unset it to keep tokens in the clear"
            raise ConfigurationError(msg)
        return keys

    @property
    def place(self) -> str:
        """What people call it; see `directory` for errors."""
        if self.kind is StoreKind.FILE:
            return f"file in {self.directory}"
        prefix = f" with the prefix {self.redis_prefix}" if self.redis_prefix else ""
        return f"{self.kind}{prefix}"

    @property
    def directory(self) -> str:
        """The directory of a file store, by default in the user's state directory; see `create` for errors."""
        if self.path is not None:
            return self.path
        try:
            return str(platformdirs.user_state_path("taxizer_async", appauthor=False))
        except RuntimeError as cause:
            msg = f"there is no place for tokens ({cause}): give --store-path, or set TAXIZER_STORE_PATH"
            raise ConfigurationError(msg) from cause

    def create(self) -> TokenStore:
        """
        Return a new store, to be closed by `closing`.

        Raises:
            ConfigurationError: If a setting or an extra is missing, or a setting is wrong.
        """
        keys = self.encryption_keys or None
        try:
            if self.kind is StoreKind.FILE:
                from taxizer_async.stores.file import FileTokenStore  # noqa: PLC0415 - an extra

                return FileTokenStore(self.directory, encryption_key=keys)
            if self.kind is StoreKind.REDIS:
                from taxizer_async.stores.redis import RedisTokenStore  # noqa: PLC0415 - an extra

                return RedisTokenStore.from_url(
                    self._url().reveal(), prefix=self.redis_prefix, encryption_key=keys
                )
        except ImportError as cause:
            raise ConfigurationError(str(cause)) from cause
        return MemoryTokenStore()

    def _url(self) -> Secret:
        if self.redis_url is None:
            msg = "the redis store needs to know where Redis is: give --redis-url, or set TAXIZER_REDIS_URL"
            raise ConfigurationError(msg)
        return self.redis_url


@contextlib.asynccontextmanager
async def closing(store: TokenStore) -> AsyncGenerator[None]:
    """Close *store* at the end, if it has an `aclose`."""
    try:
        yield
    finally:
        close = getattr(store, "aclose", None)
        if close is not None:
            await close()
