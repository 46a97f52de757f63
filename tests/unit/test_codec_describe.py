from __future__ import annotations

import json

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async._core.codec import Decoded, Undecodable, decode_token, describe


CANARY = "c4n4ry-5ecret"

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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CANARY),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(CANARY), inner),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    ["appId", "jwtToken", "jwtTokenExpireAtUTC", "refreshToken", "refreshTokenExpireAtUTC", CANARY]
)
ANSWERS = st.dictionaries(FIELDS, JSON) | JSON


@pytest.mark.report(70)
@given(ANSWERS)
def test_json_never_raises_nor_leaks(answer: object) -> None:
    """Any JSON is read or described, and no value of it is shown."""
    body = json.dumps(answer).encode()
    decoded = decode_token(body)

    assert CANARY not in describe(body)
    assert isinstance(decoded, (Decoded, Undecodable))
    if isinstance(decoded, Undecodable):
        assert CANARY not in decoded.excerpt


@given(st.binary(), st.binary(), st.sampled_from(["utf-8", "utf-16"]))
def test_bytes_never_raise_nor_leak(before: bytes, after: bytes, encoding: str) -> None:
    """Any bytes are described without their content."""
    body = before + CANARY.encode(encoding) + after

    assert CANARY not in describe(body)
    assert CANARY not in repr(decode_token(body))


@given(st.dictionaries(FIELDS, st.just(CANARY) | st.lists(st.just(CANARY)), min_size=1))
def test_what_is_decoded_hides_its_secrets(answer: dict[str, object]) -> None:
    """A token that was read shows neither its JWT nor its refresh token."""
    answer = {k: v for k, v in answer.items() if k != "appId"}

    assert CANARY not in repr(decode_token(json.dumps(answer).encode()))
