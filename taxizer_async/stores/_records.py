"""
A record as JSON, as stores outside this process keep it.

Nothing here raises on what a store held: a traceback would show it among its locals.
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


#: Changes with any change that an older reader would misunderstand.
RECORD_FORMAT: Final = 1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoredRecord:
    """
    What a store outside this process keeps.

    Attributes:
        key: Whose it is.
        record: As of when it was written.
        written: What the store needs to tell how long ago that is: strings and numbers.
    """

    key: StoreKey
    record: TokenRecord
    written: dict[str, str | float]


def encode_record(stored: StoredRecord) -> bytes:
    """Return what `decode_record` reads."""
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
    """Read what `encode_record` wrote; anything else, or of another format, is damage."""
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
