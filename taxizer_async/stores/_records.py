"""
A record or a failure as JSON, as stores outside this process keep it.

Nothing here raises because of what a store held (see `_core.secret`).
"""

from __future__ import annotations

import json
import math

from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import attrs

from taxizer_async._core.codec import (
    Undecodable,
    describe,
    parse_json,
    read_token_fields,
    token_fields,
)
from taxizer_async.stores._protocol import FAILURE_KINDS, FailureRecord, StoreKey, TokenRecord


#: Incremented with any change that an older version would misread.
RECORD_FORMAT: Final = 1


ContentT = TypeVar("ContentT", TokenRecord, FailureRecord)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stored(Generic[ContentT]):
    """
    A record or a failure with what a store outside this process adds.

    Attributes:
        key: The key of the record.
        content: The record, or the failure, at the time of writing.
        written: What the store needs to know how long ago that was: strings and numbers.
    """

    key: StoreKey
    content: ContentT
    written: dict[str, str | float]


def encode(stored: Stored[Any]) -> bytes:
    """Return the bytes that `decode_record` or `decode_failure` reads."""
    head = {"format": RECORD_FORMAT, **attrs.asdict(stored.key), "written": stored.written}
    fields = attrs.asdict(stored.content, recurse=False)
    if "token" in fields:
        fields["token"] = token_fields(fields["token"])
    return json.dumps(head | fields).encode()


def decode_record(data: bytes) -> Stored[TokenRecord] | Undecodable:
    """Read a record that `encode` wrote in this format; anything else is damaged."""
    content = _read(data, _RECORD_FIELDS)
    if isinstance(content, Undecodable):
        return content
    token = read_token_fields(content["token"])
    if token is None:
        return Undecodable("a JSON object without a usable JWT")
    fields = {name: content[name] for name in _RECORD_FIELDS}
    fields["token"] = token
    return _stored(content, TokenRecord(**fields))


def decode_failure(data: bytes) -> Stored[FailureRecord] | Undecodable:
    """Read a failure that `encode` wrote in this format; anything else is damaged."""
    content = _read(data, _FAILURE_FIELDS)
    if isinstance(content, Undecodable):
        return content
    fields = {name: content[name] for name in _FAILURE_FIELDS}
    for name in ("status_code", "failures"):
        fields[name] = int(fields[name])
    return _stored(content, FailureRecord(**fields))


def _stored(content: dict[str, Any], value: ContentT) -> Stored[ContentT]:
    key = StoreKey(content["base_url"], content["client_id"])
    return Stored(key=key, content=value, written=content["written"])


def _read(data: bytes, fields: _Fields) -> dict[str, Any] | Undecodable:
    """Return the JSON object in *data* if it is of this format and has a key and all *fields*."""
    parsed = parse_json(data)
    if not isinstance(parsed, dict):
        return Undecodable(describe(data))
    content = cast("dict[str, Any]", parsed)
    if content.get("format") != RECORD_FORMAT:
        return Undecodable(f"a JSON object of another format than {RECORD_FORMAT}")
    needed = _COMMON_FIELDS | fields
    wrong = [name for name in needed if name not in content or not needed[name](content[name])]
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


_Fields: TypeAlias = "dict[str, Callable[[object], bool]]"

_COMMON_FIELDS: Final[_Fields] = {
    "base_url": _is_text,
    "client_id": _is_text,
    "written": lambda value: isinstance(value, dict),
}
_RECORD_FIELDS: Final[_Fields] = {
    "version": _is_text,
    "lifetime": _is_number,
    "refresh_lifetime": lambda value: value is None or _is_number(value),
    "age": _is_number,
    "refresh_spent": _is_flag,
    "token": lambda value: isinstance(value, dict),
}
_FAILURE_FIELDS: Final[_Fields] = {
    "kind": lambda value: value in FAILURE_KINDS,
    "endpoint": _is_text,
    "status_code": _is_number,
    "text": _is_text,
    "pair": lambda value: value is None or _is_text(value),
    "failures": _is_number,
    "ahead_of_need": _is_flag,
    "remaining": _is_number,
}
