"""
A record as JSON, as stores outside this process keep it.

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
from taxizer_async.stores._protocol import StoreKey, TokenRecord


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
    parsed = parse_json(data)
    if not isinstance(parsed, dict):
        return Undecodable(describe(data))
    content = cast("dict[str, Any]", parsed)
    if content.get("format") != RECORD_FORMAT:
        return Undecodable(f"a JSON object of another format than {RECORD_FORMAT}")
    wrong = [
        name
        for name, fits in _RECORD_FIELDS.items()
        if name not in content or not fits(content[name])
    ]
    token = None if wrong else read_token_fields(content["token"])
    if token is None:
        return Undecodable(f"a JSON object without a usable {', '.join(wrong) or 'JWT'}")
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


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    # `parse_json` makes a float of every number.
    return isinstance(value, float) and math.isfinite(value)


_RECORD_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "base_url": _is_text,
    "client_id": _is_text,
    "written": lambda value: isinstance(value, dict),
    "version": _is_text,
    "lifetime": _is_number,
    "refresh_lifetime": lambda value: value is None or _is_number(value),
    "age": _is_number,
    "refresh_spent": lambda value: isinstance(value, bool),
    "token": lambda value: isinstance(value, dict),
}
