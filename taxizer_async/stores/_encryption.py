"""
Records and failures as the bytes that a store outside this process keeps, encrypted if there is a key.

Errors are `TokenStoreError`s whose text quotes nothing of the record.
"""

from __future__ import annotations

import contextlib

from collections.abc import Iterable
from typing import Any, Final, NoReturn, Protocol, TypeAlias, final

import attrs

from taxizer_async._core.codec import Undecodable
from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.secret import Secret
from taxizer_async.stores._protocol import FailureRecord, StoreKey, TokenRecord
from taxizer_async.stores._records import Stored, decode_failure, decode_record, encode


EncryptionKey: TypeAlias = "str | bytes | Secret | Iterable[str | bytes | Secret]"

#: Every Fernet token begins with this: its version byte, in Base64.
_ENCRYPTED: Final = b"gAAAA"


@final
class OpaqueBytes:
    """Bytes whose repr hides them, as they may be a record in plain text (see `_core.secret`)."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"OpaqueBytes({len(self.content)} bytes)"


class _Fernet(Protocol):
    def encrypt(self, data: bytes, /) -> bytes: ...

    def decrypt(self, token: bytes, /) -> bytes: ...


@final
class RecordCipher:
    """Turns records into bytes and back; without *fernet* they stay in plain text."""

    __slots__ = ("_fernet",)

    def __init__(self, fernet: _Fernet | None) -> None:
        self._fernet: Final = fernet

    def encrypt(self, stored: Stored[Any]) -> OpaqueBytes:
        """Return the bytes that `decrypt` or `decrypt_failure` reads."""
        clear = encode(stored)
        return OpaqueBytes(clear if self._fernet is None else self._fernet.encrypt(clear))

    def decrypt(self, data: OpaqueBytes, key: StoreKey) -> Stored[TokenRecord]:
        """
        Return the record in *data*.

        Raises:
            TokenStoreError: If it can't be read, or belongs to another key than *key*.
        """
        clear = self._decrypt(data)
        decoded = None if clear is None else decode_record(clear)
        # Not in a frame that raises: see `_core.secret`.
        del clear
        if isinstance(decoded, Undecodable):
            msg = f"the record is damaged ({decoded.excerpt}); it is replaced at the next login"
            raise TokenStoreError(msg)
        if decoded is None:
            msg = (
                "the record is not encrypted with a key of this process; it is replaced at the next "
                "login: give all that share the store the same encryption_key"
            )
            raise TokenStoreError(msg)
        if decoded.key != key:
            msg = "the record belongs to another base_url or client_id; it is replaced at the next login"
            raise TokenStoreError(msg)
        return decoded

    def decrypt_failure(self, data: OpaqueBytes, key: StoreKey) -> Stored[FailureRecord] | None:
        """Return the failure in *data*; None if it can't be read, or belongs to another key than *key*."""
        clear = self._decrypt(data)
        decoded = None if clear is None else decode_failure(clear)
        if decoded is None or isinstance(decoded, Undecodable):
            return None
        return decoded if decoded.key == key else None

    def may_be_kept(self, data: OpaqueBytes) -> bool:
        """Return whether *data* may stay on disk: with a key, no plain text may."""
        return self._fernet is None or data.content.startswith(_ENCRYPTED)

    def _decrypt(self, data: OpaqueBytes) -> bytes | None:
        """Return *data* in plain text; None if it is not encrypted as it should be."""
        is_encrypted = data.content.startswith(_ENCRYPTED)
        if self._fernet is None:
            return None if is_encrypted else data.content
        if not is_encrypted:
            return None
        try:
            return self._fernet.decrypt(data.content)
        except Exception:  # noqa: BLE001 - InvalidToken: importing it would load cryptography
            return None


@final
class RecordCodec:
    """
    Turns records into bytes and back, encrypted if there is a key: for a store of your own.

    ```python
    from taxizer_async.stores import RecordCodec, StoreKey, TokenRecord

    codec = RecordCodec()


    def to_row(key: StoreKey, record: TokenRecord) -> tuple[str, bytes]:
        return key.digest, codec.encode(key, record)


    def from_row(key: StoreKey, data: bytes, seconds_since_save: float) -> TokenRecord:
        return codec.decode(key, data, age=seconds_since_save)
    ```

    Args:
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. Without
            one the bytes hold the tokens in plain text.

    Raises:
        ConfigurationError: If it is no such key, or encryption is wanted but not installed.
    """

    __slots__ = ("_cipher",)

    def __init__(self, encryption_key: EncryptionKey | None = None) -> None:
        cipher = make_record_cipher(encryption_key)
        # Not in a frame that raises: see `_core.secret`.
        del encryption_key
        if isinstance(cipher, ConfigurationError):
            raise cipher
        self._cipher: Final = cipher

    def encode(self, key: StoreKey, record: TokenRecord) -> bytes:
        """Return what `decode` reads; it holds durations and no times, so keep the time of the save with it."""
        return self._cipher.encrypt(Stored(key=key, content=record, written={})).content

    def decode(
        self, key: StoreKey, data: bytes | bytearray | memoryview, *, age: float
    ) -> TokenRecord:
        """
        Return the record in *data*, older by *age*.

        Args:
            key: The key that it was encoded for.
            data: What `encode` returned.
            age: Seconds since the save, by a clock that all clients of the store share, such as the
                server's; less than 0 counts as 0.

        Raises:
            TokenStoreError: If *data* is damaged, encrypted with another key, or the record of another
                key. Nothing of it is in the error.
        """
        opaque = OpaqueBytes(bytes(data))
        # Not in a frame that raises: see `_core.secret`.
        del data
        record = self._cipher.decrypt(opaque, key).content
        return attrs.evolve(record, age=record.age + max(0.0, float(age)))

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would contain the encryption key."""
        msg = "RecordCodec can't be pickled: make one in each process"
        raise TypeError(msg)


def make_record_cipher(
    encryption_key: EncryptionKey | RecordCipher | None,
) -> RecordCipher | ConfigurationError:
    """
    Return a cipher, or the error to raise (see `_core.secret`).

    Args:
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. None
            keeps records in plain text. A `RecordCipher` is returned as it is.
    """
    if encryption_key is None:
        return RecordCipher(None)
    if isinstance(encryption_key, RecordCipher):
        return encryption_key
    given: object = encryption_key
    several = [given] if isinstance(given, (str, bytes, Secret)) else given
    if not isinstance(several, Iterable):
        return ConfigurationError(
            f"encryption_key must be a key or a list of keys, not {type(given).__name__}"
        )
    fernet = _make_fernet(list(map(_read_key, several)))
    return fernet if isinstance(fernet, ConfigurationError) else RecordCipher(fernet)


def _read_key(key: object) -> str:
    """Return *key* as text; anything that can't be a key becomes a text that Fernet refuses."""
    if isinstance(key, Secret):
        return key.reveal()
    if isinstance(key, bytes):
        return key.decode("ascii", "replace")
    return key if isinstance(key, str) else ""


def _make_fernet(keys: list[str]) -> _Fernet | ConfigurationError:
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - an extra
    except ImportError:
        return ConfigurationError(
            'encryption_key needs cryptography: pip install "taxizer-async[encryption]"'
        )
    # Raised for a malformed key, and for no keys at all.
    with contextlib.suppress(ValueError):
        return MultiFernet([Fernet(key) for key in keys])
    return ConfigurationError(
        "encryption_key must be one or more Fernet keys (32 bytes in URL-safe Base64): make one with "
        "Fernet.generate_key()"
    )
