"""Records as bytes, for stores outside the package: what the stores in files and in Redis keep, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, final

import attrs

from taxizer_async._core.errors import ConfigurationError
from taxizer_async.stores._encryption import OpaqueBytes, make_record_cipher
from taxizer_async.stores._records import StoredRecord


if TYPE_CHECKING:
    from taxizer_async.stores._encryption import EncryptionKey
    from taxizer_async.stores._protocol import StoreKey, TokenRecord


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
        return self._cipher.encrypt(StoredRecord(key=key, record=record, written={})).content

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
        record = self._cipher.decrypt(opaque, key).record
        return attrs.evolve(record, age=record.age + max(0.0, float(age)))

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would contain the encryption key."""
        msg = "RecordCodec can't be pickled: make one in each process"
        raise TypeError(msg)
