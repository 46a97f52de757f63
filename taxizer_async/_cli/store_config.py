"""
Which token store somebody asked for, as a value, and the store that is made of it.

For programs: a library's user makes the store itself. The libraries of a store are loaded when one is
made; what a store does is not known here.
"""

from __future__ import annotations

import contextlib
import enum
import os

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from taxizer_async._core.environment import find_variable
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret
from taxizer_async.stores import MemoryTokenStore


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taxizer_async.stores import TokenStore


ENCRYPTION_KEY: Final = "TAXIZER_ENCRYPTION_KEY"

_STATE_HOME: Final = "XDG_STATE_HOME"
_FOLDER: Final = "taxizer_async"


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
class StoreChoice:
    """
    What a store is made of.

    Attributes:
        kind: Which one.
        path: The directory of a file store; by default that of `default_path`.
        redis_url: Where Redis is; there is no default.
        encryption_keys: The first one encrypts, any of them decrypts; none: in the clear.
    """

    kind: StoreKind
    path: str | None = None
    redis_url: Secret | None = None
    encryption_keys: tuple[Secret, ...] = ()

    @property
    def directory(self) -> str:
        """Where a file store is; raises ConfigurationError if this user has no place for one."""
        return str(default_path()) if self.path is None else self.path

    def make(self) -> TokenStore:
        """
        Return a new store; see that it is closed by `closing`.

        Raises:
            ConfigurationError: If something is missing, or is not what it should be.
        """
        keys = self.encryption_keys or None
        try:
            if self.kind is StoreKind.FILE:
                from taxizer_async.stores.file import FileTokenStore  # noqa: PLC0415 - an extra

                return FileTokenStore(self.directory, encryption_key=keys)
            if self.kind is StoreKind.REDIS:
                from taxizer_async.stores.redis import RedisTokenStore  # noqa: PLC0415 - an extra

                return RedisTokenStore.from_url(self._url().reveal(), encryption_key=keys)
        except ImportError as cause:
            message = str(cause)
        else:
            return MemoryTokenStore()
        raise ConfigurationError(message)

    def _url(self) -> Secret:
        if self.redis_url is None:
            msg = "the redis store needs to know where Redis is: give --redis-url, or set TAXIZER_REDIS_URL"
            raise ConfigurationError(msg)
        return self.redis_url


@contextlib.asynccontextmanager
async def closing(store: TokenStore) -> AsyncGenerator[None]:
    """Close *store* in the end, if it is one that is closed."""
    try:
        yield
    finally:
        close = getattr(store, "aclose", None)
        if close is not None:
            await close()


def default_path() -> Path:
    """
    Return the directory for this user's tokens.

    Raises:
        ConfigurationError: If this user has no home.
    """
    # The specification of XDG has relative ones ignored.
    given = Path(os.environ.get(_STATE_HOME, ""))
    if given.is_absolute():
        return given / _FOLDER
    try:
        return Path.home() / ".local" / "state" / _FOLDER
    except RuntimeError as cause:
        problem = str(cause)
    msg = f"there is no place for tokens ({problem}): give --store-path, or set TAXIZER_STORE_PATH"
    raise ConfigurationError(msg)


def encryption_keys_of_environment() -> tuple[Secret, ...]:
    """
    Return the keys in `TAXIZER_ENCRYPTION_KEY`, or in the file that its `_FILE` variant names.

    Several are separated by commas or white space.

    Raises:
        ConfigurationError: If one of the variables is there without a key in it, as what was meant to be
            encrypted would be kept in the clear.
    """
    found = find_variable(ENCRYPTION_KEY)
    keys = () if found is None else tuple(map(Secret, found.reveal().replace(",", " ").split()))
    if not keys and any(name in os.environ for name in (ENCRYPTION_KEY, f"{ENCRYPTION_KEY}_FILE")):
        msg = f"{ENCRYPTION_KEY} has no key in it: unset it to keep tokens in the clear"
        raise ConfigurationError(msg)
    return keys
