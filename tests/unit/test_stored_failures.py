from __future__ import annotations

import json

from typing import Any

import attrs
import pytest

from cryptography.fernet import Fernet

from taxizer_async._core.codec import Undecodable
from taxizer_async.stores import FailureRecord, FailureStore, MemoryTokenStore, StoreKey, TokenStore
from taxizer_async.stores._encryption import OpaqueBytes, RecordCipher, make_record_cipher
from taxizer_async.stores._records import Stored, decode_failure, encode
from tests.support.tokens import make_failure


KEY = StoreKey("https://apistaging.taxizer.com", "app")
FAILURE = make_failure(ahead_of_need=True, remaining=4.5)
REFUSAL = attrs.evolve(FAILURE, kind="refused", status_code=401, text="", pair="5f" * 32)
FERNET_KEY = Fernet.generate_key()


def _stored(failure: FailureRecord = FAILURE, key: StoreKey = KEY) -> Stored[FailureRecord]:
    return Stored(key=key, content=failure, written={"ttl": 4500.0})


def _cipher(key: bytes | None) -> RecordCipher:
    cipher = make_record_cipher(key)
    assert isinstance(cipher, RecordCipher)
    return cipher


@pytest.mark.parametrize("failure", [FAILURE, REFUSAL], ids=["outage", "refusal"])
@pytest.mark.parametrize("key", [None, FERNET_KEY], ids=["plain", "encrypted"])
def test_round_trip(failure: FailureRecord, key: bytes | None) -> None:
    """A failure is read as it was written, encrypted or not: a number without a fraction is one again."""
    cipher = _cipher(key)
    read = cipher.decrypt_failure(cipher.encrypt(_stored(failure)), KEY)

    assert read is not None
    assert read.content == failure
    assert repr(read.content) == repr(failure)
    assert read.written == {"ttl": 4500.0}


def test_plain_text_is_not_believed_where_there_is_a_key() -> None:
    """With an encryption key, a failure in plain text counts as none."""
    assert _cipher(FERNET_KEY).decrypt_failure(_cipher(None).encrypt(_stored()), KEY) is None


def test_of_another_key() -> None:
    """A failure of another API or app counts as none."""
    data = _cipher(None).encrypt(_stored(key=StoreKey(KEY.base_url, "other")))

    assert _cipher(None).decrypt_failure(data, KEY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "sad"},
        {"kind": ["refused"]},
        {"endpoint": None},
        {"status_code": "503"},
        {"status_code": float("inf")},
        {"text": 1},
        {"pair": 5},
        {"failures": None},
        {"ahead_of_need": "no"},
        {"remaining": float("nan")},
        {"written": []},
        {"base_url": 1},
    ],
    ids=str,
)
def test_damaged(change: dict[str, Any]) -> None:
    """A failure with a field that is no such thing is damaged, and counts as none."""
    content = json.loads(encode(_stored()))
    data = json.dumps(content | change).encode()

    assert isinstance(decode_failure(data), Undecodable)
    assert _cipher(None).decrypt_failure(OpaqueBytes(data), KEY) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"{}"])
def test_no_failure_at_all(data: bytes) -> None:
    """Bytes that are no JSON object count as none."""
    assert _cipher(None).decrypt_failure(OpaqueBytes(data), KEY) is None


def test_a_plain_store_shares_no_failures() -> None:
    """A store is asked for failures only if it has the two methods."""

    class Plain:
        load = save = clear = lease = MemoryTokenStore.load

    plain: object = Plain()
    store: TokenStore = MemoryTokenStore()

    assert isinstance(store, FailureStore)
    assert not isinstance(plain, FailureStore)
