from __future__ import annotations

import json

import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import Credentials, Secret
from taxizer_async._core.codec import encode_credentials, encode_refresh_token


VALUES = st.text(min_size=1).filter(str.strip)


def test_connect_body() -> None:
    """A Connect request has the two documented fields, and no other."""
    body = encode_credentials(Credentials("app", "s3cret"))

    assert json.loads(body) == {"clientId": "app", "clientSecret": "s3cret"}


def test_refresh_body() -> None:
    """A refresh request has the one documented field, and no other."""
    assert json.loads(encode_refresh_token(Secret("def45678"))) == {"refreshToken": "def45678"}


@given(VALUES, VALUES)
def test_bodies_are_ascii_json(first: str, second: str) -> None:
    """For any values, a body is ASCII and valid JSON, and reads back the same."""
    connect = encode_credentials(Credentials(first, second))
    refresh = encode_refresh_token(Secret(first))

    assert connect.isascii()
    assert refresh.isascii()
    assert json.loads(connect) == {"clientId": first, "clientSecret": second}
    assert json.loads(refresh) == {"refreshToken": first}


@pytest.mark.parametrize(
    "value", ['quo"te', "back\\slash", "new\nline", "رمز", "😀", "\x00"], ids=ascii
)
def test_nothing_breaks_out(value: str) -> None:
    """A value with quotes, newlines or other letters stays one value."""
    assert json.loads(encode_refresh_token(Secret(value))) == {"refreshToken": value}
