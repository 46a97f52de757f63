"""
One record as the bytes that a store outside this process keeps, encrypted if there is a key.

What goes wrong is told by a `TokenStoreError` whose text has nothing of the record in it. Where the
bytes are kept is not decided here.
"""

from __future__ import annotations

import contextlib
import hashlib

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

from taxizer_async._core.codec import Undecodable
from taxizer_async._core.errors import ConfigurationError, TokenStoreError
from taxizer_async._core.models import Secret
from taxizer_async.stores._records import decode_record, encode_record


if TYPE_CHECKING:
    from taxizer_async.stores._protocol import StoreKey
    from taxizer_async.stores._records import StoredRecord


EncryptionKey: TypeAlias = "str | bytes | Secret | Iterable[str | bytes | Secret]"

#: How any Fernet token begins: its version byte, in Base64.
_ENCRYPTED: Final = b"gAAAA"


@final
class Sealed:
    """Bytes that no frame and no repr shows, as they may be a record in the clear."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"Sealed({len(self.content)} bytes)"


def name_of(key: StoreKey) -> str:
    """Return what a record of *key* is called: no part of a client_id, and the same for no two keys."""
    return hashlib.sha256(repr((key.base_url, key.client_id)).encode()).hexdigest()[:32]


class _Cipher(Protocol):
    def encrypt(self, data: bytes, /) -> bytes: ...

    def decrypt(self, token: bytes, /) -> bytes: ...


@final
class Envelope:
    """Seals and opens records; with *cipher*, or else in the clear. See `make_envelope`."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: _Cipher | None) -> None:
        self._cipher: Final = cipher

    def seal(self, stored: StoredRecord) -> Sealed:
        """Return what `open` reads."""
        clear = encode_record(stored)
        return Sealed(clear if self._cipher is None else self._cipher.encrypt(clear))

    def open(self, sealed: Sealed, key: StoreKey) -> StoredRecord:
        """
        Return the record that was sealed.

        Raises:
            TokenStoreError: If it can't be read, or is not the one of *key*.
        """
        decoded = self._read(sealed)
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
            msg = "the record is that of another base_url or client_id; it is replaced at the next login"
            raise TokenStoreError(msg)
        return decoded

    def may_be_kept(self, sealed: Sealed) -> bool:
        """Say whether it may lie about: who encrypts wants nothing there that may be in the clear."""
        return self._cipher is None or sealed.content.startswith(_ENCRYPTED)

    def _read(self, sealed: Sealed) -> StoredRecord | Undecodable | None:
        is_encrypted = sealed.content.startswith(_ENCRYPTED)
        if self._cipher is None:
            return None if is_encrypted else decode_record(sealed.content)
        if not is_encrypted:
            return None
        try:
            clear = self._cipher.decrypt(sealed.content)
        except Exception:  # noqa: BLE001 - InvalidToken, and naming it would take its import
            return None
        return decode_record(clear)


def make_envelope(encryption_key: EncryptionKey | Envelope | None) -> Envelope | ConfigurationError:
    """
    Return an envelope, or what is wrong: a value, as the frames of who raises must not have the key.

    Args:
        encryption_key: A Fernet key, or several: the first one encrypts, any of them decrypts. Without
            one records are kept in the clear. An envelope stays what it is.
    """
    if encryption_key is None:
        return Envelope(None)
    if isinstance(encryption_key, Envelope):
        return encryption_key
    given: object = encryption_key
    several = [given] if isinstance(given, (str, bytes, Secret)) else given
    if not isinstance(several, Iterable):
        return ConfigurationError(
            f"encryption_key must be a key or several, not {type(given).__name__}"
        )
    cipher = _make_cipher(list(map(_read_key, several)))
    return cipher if isinstance(cipher, ConfigurationError) else Envelope(cipher)


def _read_key(key: object) -> str:
    """Return it as text; what can't be one becomes a text that is none."""
    if isinstance(key, Secret):
        return key.reveal()
    if isinstance(key, bytes):
        return key.decode("ascii", "replace")
    return key if isinstance(key, str) else ""


def _make_cipher(keys: list[str]) -> _Cipher | ConfigurationError:
    try:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - an extra
    except ImportError:
        return ConfigurationError(
            'encryption_key needs cryptography: pip install "taxizer-async[encryption]"'
        )
    # One that is none, or none at all.
    with contextlib.suppress(ValueError):
        return MultiFernet([Fernet(key) for key in keys])
    return ConfigurationError(
        "encryption_key is no Fernet key (32 bytes in URL-safe Base64), nor several: make one with "
        "Fernet.generate_key()"
    )
