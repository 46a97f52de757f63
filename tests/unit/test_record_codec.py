from __future__ import annotations

import copy
import pickle
import traceback

from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from cryptography.fernet import Fernet

from taxizer_async import ConfigurationError, Secret, Token, TokenStoreError
from taxizer_async.stores import RecordCodec, StoreKey, TokenRecord
from taxizer_async.stores.file import FileTokenStore


KEY = StoreKey("https://api.test", "client-1")
JWT, REFRESH = "c4n4ry-jwt-0123456789", "c4n4ry-refresh-0123456789"
RECORD = TokenRecord(
    token=Token(
        jwt=Secret(JWT),
        refresh_token=Secret(REFRESH),
        expires_at=datetime(2030, 1, 2, 3, 4, 5, 678901, UTC),
        account_name="متجر \U0001f9fe",
    ),
    version="v-1",
    lifetime=900.0,
    refresh_lifetime=None,
    age=7.5,
    refresh_spent=True,
)
OLD, NEW = Fernet.generate_key(), Fernet.generate_key()

kinds = pytest.mark.parametrize("key", [None, NEW, [NEW, OLD]], ids=["plain", "encrypted", "two"])


@pytest.mark.report(159)
@kinds
def test_a_record_survives(key: bytes | list[bytes] | None) -> None:
    """What `encode` returns is decoded to the same record, in another codec of the same key."""
    data = RecordCodec(key).encode(KEY, RECORD)

    assert RecordCodec(key).decode(KEY, data, age=0) == RECORD
    assert RecordCodec(key).decode(KEY, memoryview(data), age=0) == RECORD
    assert RecordCodec(key).decode(KEY, bytearray(data), age=0) == RECORD


@pytest.mark.parametrize(("passed", "age"), [(0, 7.5), (2.5, 10.0), (-3.0, 7.5)])
def test_the_time_since_the_save_is_added(passed: float, age: float) -> None:
    """The record grows older by *age*; a clock that was set back makes it no younger."""
    codec = RecordCodec()
    loaded = codec.decode(KEY, codec.encode(KEY, RECORD), age=passed)

    assert loaded == attrs.evolve(RECORD, age=age)


@kinds
def test_a_cut_is_no_record(key: bytes | list[bytes] | None) -> None:
    """Bytes that end anywhere too soon are an error of the store."""
    data = RecordCodec(key).encode(KEY, RECORD)
    for length in range(len(data)):
        with pytest.raises(TokenStoreError, match="replaced at the next login"):
            RecordCodec(key).decode(KEY, data[:length], age=0)


FOREIGN = {
    "another app's": RecordCodec().encode(StoreKey(KEY.base_url, "client-2"), RECORD),
    "another API's": RecordCodec().encode(StoreKey("https://other.test", KEY.client_id), RECORD),
    "without a JWT": RecordCodec().encode(KEY, RECORD).replace(b"jwtToken", b"jwt"),
    "of a later format": RecordCodec().encode(KEY, RECORD).replace(b": 1,", b": 2,", 1),
    "encrypted": RecordCodec(NEW).encode(KEY, RECORD),
    "of another program": b"\x00\xff" + JWT.encode(),
    "a list": b'["' + JWT.encode() + b'"]',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_record_of_the_key_is_refused_and_not_shown(kind: str) -> None:
    """Foreign bytes are a `TokenStoreError`, and no part of them is in it or in its frames."""
    codec = RecordCodec()
    with pytest.raises(TokenStoreError) as caught:
        codec.decode(KEY, FOREIGN[kind], age=0)

    _shows_nothing(caught.value)
    assert caught.value.retryable


def test_a_record_in_plain_text_is_not_believed_where_there_is_a_key() -> None:
    """A writer that has no key can put nothing into the store that is believed."""
    data = RecordCodec().encode(KEY, RECORD)
    with pytest.raises(TokenStoreError, match="not encrypted") as caught:
        RecordCodec(NEW).decode(KEY, data, age=0)

    _shows_nothing(caught.value)


def test_what_is_encrypted_and_damaged_is_not_shown() -> None:
    """Nor is the plain text of a record that is of no use."""
    data = Fernet(NEW).encrypt(JWT.encode())
    with pytest.raises(TokenStoreError, match="damaged") as caught:
        RecordCodec(NEW).decode(KEY, data, age=0)

    _shows_nothing(caught.value)


def _shows_nothing(error: TokenStoreError) -> None:
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    # The test's own frame has the bytes.
    told.stack[:1] = []
    assert "c4n4ry" not in "".join(told.format())


def test_a_wrong_key_is_told() -> None:
    """It is the error that stores raise."""
    with pytest.raises(ConfigurationError, match="must be one or more Fernet keys"):
        RecordCodec("short")


def test_a_codec_shows_and_gives_away_no_key() -> None:
    """Its repr has no key, and it is neither pickled nor copied."""
    codec = RecordCodec(NEW)

    assert NEW.decode() not in repr(codec)
    for take in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="make one in each process"):
            take(codec)


async def test_files_hold_what_the_codec_writes(tmp_path: Path) -> None:
    """The stores of the package use the same codec."""
    store = FileTokenStore(tmp_path / "tokens", encryption_key=NEW)
    lease = await store.lease(KEY)
    assert lease is not None
    assert await store.save(KEY, RECORD, lease)
    await lease.release()
    data = (tmp_path / "tokens" / f"{KEY.digest}.1.json").read_bytes()

    assert RecordCodec(NEW).decode(KEY, data, age=0) == RECORD


def test_a_digest_names_one_key() -> None:
    """It differs if any part does, however the parts are joined, and shows none of them."""
    keys = [KEY, StoreKey("https://api.testc", "lient-1"), StoreKey(KEY.client_id, KEY.base_url)]

    assert len({key.digest for key in keys}) == len(keys)
    assert KEY.digest == StoreKey(KEY.base_url, KEY.client_id).digest
    assert all(key.digest.isalnum() and len(key.digest) == 32 for key in keys)
    assert "client" not in KEY.digest
