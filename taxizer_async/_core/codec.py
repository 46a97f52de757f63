"""
Turns JSON into tokens and back; the only module that knows the names of a token's fields.

Nothing here raises because of what the server sent, as a traceback would show the body (see
`_core.secret`).
"""

from __future__ import annotations

import functools
import json
import re

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, cast

import attrs
import cattrs

from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from taxizer_async._core.models import Credentials, Token
from taxizer_async._core.secret import Secret


# Strings, which `re` compiles and caches at first use, so that imports do not pay for it.
_VISIBLE_ASCII: Final = r"[\x21-\x7e]+"
_TIMESTAMP: Final = (
    r"(?a)(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{0,9}))?\s?([Zz]|[+-]\d\d:?\d\d)?"
)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Decoded:
    """A token, and the names of its expiries that could not be read."""

    token: Token
    unreadable: tuple[str, ...]


@attrs.frozen
class Undecodable:
    """A body that holds no token, described without any value from it."""

    excerpt: str


def encode_credentials(credentials: Credentials) -> bytes:
    """Return the body of a Connect request (API reference, "Auth/Connect")."""
    return json.dumps(
        {
            "clientId": credentials.client_id,
            "clientSecret": credentials.client_secret.reveal(),
        }
    ).encode()


def encode_refresh_token(refresh_token: Secret) -> bytes:
    """Return the body of a refresh request (API reference, "Auth/AppRefreshToken")."""
    return json.dumps({"refreshToken": refresh_token.reveal()}).encode()


def decode_token(body: bytes) -> Decoded | Undecodable:
    """
    Read the object of nine fields that both endpoints return.

    Unknown fields are ignored, a byte order mark is accepted, and every field except the JWT may be null
    or missing. A JWT that would not be valid in a header is refused.
    """
    parsed = parse_json(body)
    if not isinstance(parsed, dict):
        return Undecodable(describe(body))
    payload = cast("dict[str, Any]", parsed)
    problem = _jwt_problem(payload)
    if problem:
        return Undecodable(f"a JSON object {problem}")
    token: Token = _converter().structure(payload, Token)
    unreadable = tuple(
        wire
        for name, (wire, read) in _FIELDS.items()
        if read is _timestamp
        and payload.get(wire) not in (None, "")
        and getattr(token, name) is None
    )
    return Decoded(token=token, unreadable=unreadable)


def token_fields(token: Token) -> dict[str, Any]:
    """Return the nine fields of *token* as JSON values."""
    fields: dict[str, Any] = _converter().unstructure(token)
    return fields


def read_token_fields(fields: dict[str, Any]) -> Token | None:
    """Return the token of *fields*, which are JSON values; None without a usable JWT."""
    if _jwt_problem(fields):
        return None
    token: Token = _converter().structure(fields, Token)
    return token


def parse_timestamp(text: str) -> datetime | None:
    """
    Return a timestamp of the API as an aware UTC value; None if *text* is not a full timestamp.

    ASP.NET backends write 0 to 9 fractional digits, `Z`, `z`, offsets, and a space for `T`. Without a zone
    it is UTC, as the fields' names say. A moment that `datetime` can't hold becomes its first or last one.
    """
    # `datetime.fromisoformat` alone would also read dates, week dates and more.
    match = re.fullmatch(_TIMESTAMP, text.strip())
    if not match:
        return None
    date, time, fraction, zone = match.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{time}.{fraction or 0}{zone.upper() or 'Z'}")
    except ValueError:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _EARLIEST if moment.year == 1 else _LATEST


def parse_json(body: bytes) -> Any:
    """Return the value of *body*, with numbers as floats; `_NOT_JSON` if it is not JSON."""
    try:
        # Python refuses to parse integers of thousands of digits, and no field is an integer.
        return json.loads(body, parse_int=float)
    except (ValueError, RecursionError):
        return _NOT_JSON


def is_json(body: bytes) -> bool:
    return parse_json(body) is not _NOT_JSON


_NOT_JSON: Final = object()


def _jwt_problem(payload: dict[str, Any]) -> str | None:
    if "jwtToken" not in payload:
        return "without jwtToken"
    jwt = payload["jwtToken"]
    if not isinstance(jwt, str):
        return "with a jwtToken that is not a string"
    if not re.fullmatch(_VISIBLE_ASCII, jwt):
        return "with a jwtToken that is empty or not visible ASCII"
    return None


def describe(body: bytes) -> str:
    """Describe *body* without any value from it."""
    if not body:
        return "an empty body"
    payload = parse_json(body)
    if payload is not _NOT_JSON:
        return f"a JSON {_JSON_KINDS.get(type(payload).__name__, 'number or boolean')}"
    is_html = b"<html" in body[:1024].lower()
    what = "an HTML page" if is_html else "something that is not JSON"
    phrase = next((p for p in _PHRASES if p.encode() in body), None)
    said = f', saying "{phrase}"' if phrase else ""
    return f"{what} of {len(body)} bytes{said}"


_JSON_KINDS: Final = {"dict": "object", "list": "list", "str": "string", "NoneType": "null"}
# Phrases of gateways are quoted from this list, never from the body.
_PHRASES: Final = tuple(s.phrase for s in HTTPStatus if s >= HTTPStatus.BAD_REQUEST)


def _text(value: Any, _: Any) -> str | None:
    return value if isinstance(value, str) else None


def _secret(value: Any, _: Any) -> Secret | None:
    return Secret(value) if isinstance(value, str) and value else None


def _timestamp(value: Any, _: Any) -> datetime | None:
    return parse_timestamp(value) if isinstance(value, str) else None


#: The name in JSON of each field of a token, and the function that reads its value.
_FIELDS: Final = {
    "app_id": ("appId", _text),
    "app_name": ("appName", _text),
    "account_id": ("accountId", _text),
    "account_name": ("accountName", _text),
    "username": ("username", _text),
    "jwt": ("jwtToken", _secret),
    "expires_at": ("jwtTokenExpireAtUTC", _timestamp),
    "refresh_token": ("refreshToken", _secret),
    "refresh_expires_at": ("refreshTokenExpireAtUTC", _timestamp),
}


# Built at the first login, so that imports do not pay for it.
@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Secret, Secret.reveal)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    fields: dict[str, Any] = {
        name: override(rename=wire, struct_hook=read) for name, (wire, read) in _FIELDS.items()
    }
    converter.register_structure_hook(Token, make_dict_structure_fn(Token, converter, **fields))
    converter.register_unstructure_hook(Token, make_dict_unstructure_fn(Token, converter, **fields))
    return converter
