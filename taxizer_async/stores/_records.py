"""
A record or a failure as JSON, as stores outside this process keep it.

Nothing here raises because of what a store held (see `_core.secret`).
"""

from __future__ import annotations

import json
import math

from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from taxizer_async._core.codec import (
    Undecodable,
    describe,
    parse_json,
    read_token_fields,
    token_fields,
)
from taxizer_async.stores._protocol import FAILURE_KINDS, FailureRecord, StoreKey, TokenRecord


if TYPE_CHECKING:
    from collections.abc import Callable


#: Incremented with any change that an older version would misread.
RECORD_FORMAT: Final = 1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoredRecord:
    """
    A record with what a store outside this process adds.

    Attributes:
        key: The key of the record.
        record: The record at the time of writing.
        written: What the store needs to know how long ago that was: strings and numbers.
    """

    key: StoreKey
    record: TokenRecord
    written: dict[str, str | float]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoredFailure:
    """A failure with what a store outside this process adds, as `StoredRecord`."""

    key: StoreKey
    failure: FailureRecord
    written: dict[str, str | float]


def encode_record(stored: StoredRecord) -> bytes:
    """Return the bytes that `decode_record` reads."""
    record = stored.record
    content = {
        "format": RECORD_FORMAT,
        "base_url": stored.key.base_url,
        "client_id": stored.key.client_id,
        "written": stored.written,
        "version": record.version,
        "lifetime": record.lifetime,
        "refresh_lifetime": record.refresh_lifetime,
        "age": record.age,
        "refresh_spent": record.refresh_spent,
        "token": token_fields(record.token),
    }
    return json.dumps(content).encode()


def decode_record(data: bytes) -> StoredRecord | Undecodable:
    """Read what `encode_record` wrote in this format; anything else is damaged."""
    content = _read(data, _RECORD_FIELDS)
    if isinstance(content, Undecodable):
        return content
    token = read_token_fields(content["token"])
    if token is None:
        return Undecodable("a JSON object without a usable JWT")
    return StoredRecord(
        key=StoreKey(content["base_url"], content["client_id"]),
        record=TokenRecord(
            token=token,
            version=content["version"],
            lifetime=content["lifetime"],
            refresh_lifetime=content["refresh_lifetime"],
            age=content["age"],
            refresh_spent=content["refresh_spent"],
        ),
        written=content["written"],
    )


def encode_failure(stored: StoredFailure) -> bytes:
    """Return the bytes that `decode_failure` reads."""
    content = {
        "format": RECORD_FORMAT,
        "base_url": stored.key.base_url,
        "client_id": stored.key.client_id,
        "written": stored.written,
    }
    return json.dumps(content | attrs.asdict(stored.failure)).encode()


def decode_failure(data: bytes) -> StoredFailure | Undecodable:
    """Read what `encode_failure` wrote in this format; anything else is damaged."""
    content = _read(data, _FAILURE_FIELDS)
    if isinstance(content, Undecodable):
        return content
    return StoredFailure(
        key=StoreKey(content["base_url"], content["client_id"]),
        failure=FailureRecord(
            kind=content["kind"],
            endpoint=content["endpoint"],
            status_code=int(content["status_code"]),
            text=content["text"],
            pair=content["pair"],
            failures=int(content["failures"]),
            ahead_of_need=content["ahead_of_need"],
            remaining=content["remaining"],
        ),
        written=content["written"],
    )


def _read(data: bytes, fields: dict[str, Callable[[object], bool]]) -> dict[str, Any] | Undecodable:
    """Return the JSON object in *data* if it is of this format and has all *fields*."""
    parsed = parse_json(data)
    if not isinstance(parsed, dict):
        return Undecodable(describe(data))
    content = cast("dict[str, Any]", parsed)
    if content.get("format") != RECORD_FORMAT:
        return Undecodable(f"a JSON object of another format than {RECORD_FORMAT}")
    wrong = [
        name for name, fits in fields.items() if name not in content or not fits(content[name])
    ]
    if wrong:
        return Undecodable(f"a JSON object without a usable {', '.join(wrong)}")
    return content


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    # `parse_json` makes a float of every number.
    return isinstance(value, float) and math.isfinite(value)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_COMMON_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "base_url": _is_text,
    "client_id": _is_text,
    "written": lambda value: isinstance(value, dict),
}
_RECORD_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    **_COMMON_FIELDS,
    "version": _is_text,
    "lifetime": _is_number,
    "refresh_lifetime": lambda value: value is None or _is_number(value),
    "age": _is_number,
    "refresh_spent": _is_flag,
    "token": lambda value: isinstance(value, dict),
}
_FAILURE_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    **_COMMON_FIELDS,
    "kind": lambda value: value in FAILURE_KINDS,
    "endpoint": _is_text,
    "status_code": _is_number,
    "text": _is_text,
    "pair": lambda value: value is None or _is_text(value),
    "failures": _is_number,
    "ahead_of_need": _is_flag,
    "remaining": _is_number,
}
