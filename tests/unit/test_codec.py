from __future__ import annotations

import json

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import Credentials, Secret, Token
from taxizer_async._core.codec import (
    Decoded,
    Undecodable,
    decode_token,
    describe,
    encode_credentials,
    encode_refresh_token,
)


CANARY = "c4n4ry-5ecret"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IlVzZXIyMDI0IiwiaWF0IjoxNTE2MjM5MDIyfQ."
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)

#: The reference's own example.
EXAMPLE: dict[str, Any] = {
    "appId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "appName": "InvoiceApp",
    "accountId": "acc12345",
    "accountName": "MainAccount",
    "username": "user2024",
    "jwtToken": JWT,
    "jwtTokenExpireAtUTC": "2024-09-15T12:28:18.789Z",
    "refreshToken": "def45678",
    "refreshTokenExpireAtUTC": "2024-09-15T12:28:18.789Z",
}
END = datetime(2024, 9, 15, 12, 28, 18, 789_000, tzinfo=UTC)
TOKEN = Token(
    app_id="3fa85f64-5717-4562-b3fc-2c963f66afa6",
    app_name="InvoiceApp",
    account_id="acc12345",
    account_name="MainAccount",
    username="user2024",
    jwt=Secret(JWT),
    expires_at=END,
    refresh_token=Secret("def45678"),
    refresh_expires_at=END,
)

TEXTS = {
    "appId": "app_id",
    "appName": "app_name",
    "accountId": "account_id",
    "accountName": "account_name",
    "username": "username",
}
EXPIRIES = {"jwtTokenExpireAtUTC": "expires_at", "refreshTokenExpireAtUTC": "refresh_expires_at"}
OPTIONAL = TEXTS | EXPIRIES | {"refreshToken": "refresh_token"}
WRONG: list[Any] = [7, 1.5, True, False, [], ["x"], {}, {"x": "y"}, 10**400]


BODIES = [
    pytest.param(b"", "an empty body", id="empty"),
    pytest.param(b"[]", "a JSON list", id="list"),
    pytest.param(b'"a string"', "a JSON string", id="string"),
    pytest.param(b"null", "a JSON null", id="null"),
    pytest.param(b"17", "a JSON number or boolean", id="number"),
    pytest.param(b"true", "a JSON number or boolean", id="boolean"),
    pytest.param(b"NaN", "a JSON number or boolean", id="NaN"),
    pytest.param(b"   ", "something that is not JSON of 3 bytes", id="blanks"),
    pytest.param(b"\xff\xfe\xfd", "something that is not JSON of 3 bytes", id="binary"),
    pytest.param(b'{"a": 1', "something that is not JSON of 7 bytes", id="truncated"),
    pytest.param(b"\x1f\x8b\x08", "something that is not JSON of 3 bytes", id="gzip"),
    pytest.param(b"<!doctype html><HTML>", "an HTML page of 21 bytes", id="HTML"),
    pytest.param(
        b"<html><h1>502 Bad Gateway</h1></html>",
        'an HTML page of 37 bytes, saying "Bad Gateway"',
        id="a gateway's page",
    ),
    pytest.param(
        b"Too Many Requests",
        'something that is not JSON of 17 bytes, saying "Too Many Requests"',
        id="plain text",
    ),
    pytest.param(
        b"x" * 1024 + b"<html>", "something that is not JSON of 1030 bytes", id="late HTML"
    ),
    pytest.param(b"[" * 100_000, "something that is not JSON of 100000 bytes", id="deep list"),
    pytest.param(
        b'{"jwtToken":' * 10_000, "something that is not JSON of 120000 bytes", id="deep object"
    ),
]


def _body(**changes: Any) -> bytes:
    return json.dumps(EXAMPLE | changes).encode()


def _decoded(body: bytes) -> Decoded:
    decoded = decode_token(body)
    assert isinstance(decoded, Decoded)
    return decoded


def _with(name: str, value: Any = None) -> Token:
    changes: dict[str, Any] = {name: value}
    return attrs.evolve(TOKEN, **changes)


def test_example() -> None:
    """The reference's example gives its nine fields."""
    assert _decoded(_body()) == Decoded(token=TOKEN, unreadable=())


def test_the_jwt_alone_is_enough() -> None:
    """All but the JWT may be missing."""
    body = json.dumps({"jwtToken": JWT}).encode()

    assert _decoded(body) == Decoded(token=Token(jwt=Secret(JWT)), unreadable=())


@pytest.mark.report(49)
def test_unknown_fields_are_ignored() -> None:
    """Undocumented fields change nothing, whatever they are called and hold."""
    extra: dict[str, Any] = {"": None, "jwttoken": 1, "app_id": "x", "self": [{"jwtToken": []}]}

    assert _decoded(json.dumps(EXAMPLE | extra).encode()).token == TOKEN


@pytest.mark.report(49, 72)
@pytest.mark.parametrize("field", OPTIONAL)
def test_a_missing_field_is_none(field: str) -> None:
    """A field that is left out or null is None, and the others are there (report 49)."""
    body = json.dumps({k: v for k, v in EXAMPLE.items() if k != field}).encode()
    decoded = Decoded(token=_with(OPTIONAL[field]), unreadable=())

    assert _decoded(body) == decoded
    assert _decoded(_body(**{field: None})) == decoded


@pytest.mark.parametrize("field", TEXTS)
def test_an_empty_text_stays(field: str) -> None:
    """An empty name stays an empty name."""
    assert _decoded(_body(**{field: ""})).token == _with(TEXTS[field], "")


@pytest.mark.report(49)
@pytest.mark.parametrize("field", [*EXPIRIES, "refreshToken"])
def test_an_empty_field_is_none(field: str) -> None:
    """An empty expiry or refresh token counts as missing."""
    assert _decoded(_body(**{field: ""})) == Decoded(token=_with(OPTIONAL[field]), unreadable=())


@pytest.mark.report(49, 72)
@pytest.mark.parametrize("value", WRONG, ids=lambda v: repr(v)[:12])
@pytest.mark.parametrize("field", OPTIONAL)
def test_a_field_of_a_wrong_type_is_none(field: str, value: Any) -> None:
    """A field of another type is None, and named if it is an expiry (report 72)."""
    unreadable = (field,) if field in EXPIRIES else ()

    assert _decoded(_body(**{field: value})) == Decoded(
        token=_with(OPTIONAL[field]), unreadable=unreadable
    )


@pytest.mark.report(72)
@pytest.mark.parametrize("text", ["soon", "3600", "15/09/2024", " ", "2024-13-01T00:00:00Z"])
def test_unreadable_expiries_are_named(text: str) -> None:
    """An unreadable expiry is None, and its field is named."""
    decoded = _decoded(_body(jwtTokenExpireAtUTC=text, refreshTokenExpireAtUTC=text))

    assert decoded.token.expires_at is None
    assert decoded.token.refresh_expires_at is None
    assert decoded.unreadable == ("jwtTokenExpireAtUTC", "refreshTokenExpireAtUTC")


@pytest.mark.parametrize(
    "jwt",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="a blank"),
        pytest.param("a b", id="an inner blank"),
        pytest.param("a\r\nX-Evil: 1", id="a header break"),
        pytest.param("token\n", id="a trailing newline"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("a\x7f", id="DEL"),
        pytest.param("tökén", id="latin-1"),
        pytest.param("رمز", id="arabic"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param("\ufeffabc", id="a BOM"),
    ],
)
def test_a_jwt_is_visible_ascii(jwt: str) -> None:
    """A JWT that would not be valid in a header is refused."""
    assert decode_token(_body(jwtToken=jwt)) == Undecodable(
        "a JSON object with a jwtToken that is empty or not visible ASCII"
    )


@pytest.mark.parametrize("value", [None, *WRONG], ids=lambda v: repr(v)[:12])
def test_a_jwt_is_a_string(value: Any) -> None:
    """A JWT of another type, or null, is refused."""
    assert decode_token(_body(jwtToken=value)) == Undecodable(
        "a JSON object with a jwtToken that is not a string"
    )


def test_a_jwt_is_there() -> None:
    """An object without a JWT is not a token."""
    assert decode_token(b'{"error": "x"}') == Undecodable("a JSON object without jwtToken")
    assert decode_token(b"{}") == Undecodable("a JSON object without jwtToken")


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_visible_ascii_is_a_jwt(jwt: str) -> None:
    """A JWT is opaque: any visible ASCII is taken as it is."""
    assert _decoded(_body(jwtToken=jwt)).token.jwt.reveal() == jwt


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_encodings(encoding: str) -> None:
    """JSON is read in UTF-8, UTF-16 and UTF-32, with or without a byte order mark."""
    body = json.dumps(EXAMPLE | {"appName": "فاتورة"}, ensure_ascii=False).encode(encoding)

    assert _decoded(body).token == attrs.evolve(TOKEN, app_name="فاتورة")


def test_the_last_of_two_fields_counts() -> None:
    """A repeated field has its last value, as with other JSON readers."""
    body = b'{"jwtToken": "first", "jwtToken": "last"}'

    assert _decoded(body).token.jwt.reveal() == "last"


@pytest.mark.report(70)
@pytest.mark.parametrize(("body", "text"), BODIES)
def test_no_token(body: bytes, text: str) -> None:
    """A body that is no object is described by its kind, its length, and a standard HTTP phrase."""
    assert describe(body) == text
    assert decode_token(body) == Undecodable(text)


def test_describe_an_object() -> None:
    """An object is only called an object; its names and values are not shown."""
    assert describe(json.dumps({CANARY: CANARY}).encode()) == "a JSON object"


def test_a_huge_integer_in_an_unknown_field() -> None:
    """A number with more digits than Python parses does not raise."""
    body = b'{"jwtToken": "abc", "extra": ' + b"9" * 5000 + b"}"

    assert isinstance(decode_token(body), (Decoded, Undecodable))
    assert "9" not in describe(body)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('quo"te', "back\\slash"),
        ("new\nline", "\x00"),
        ("فاتورة", "\U0001f4a5"),
        ("\ud800", "\udcff"),
    ],
    ids=["quoted", "control", "unicode", "surrogates"],
)
def test_bodies_are_ascii_json(first: str, second: str) -> None:
    """A body is ASCII and JSON, and holds the documented fields and no other."""
    connect = encode_credentials(Credentials(first, second))
    refresh = encode_refresh_token(Secret(first))

    assert connect.isascii()
    assert refresh.isascii()
    assert json.loads(connect) == {"clientId": first, "clientSecret": second}
    assert json.loads(refresh) == {"refreshToken": first}
