from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from taxizer_async import Credentials, Secret
from taxizer_async._core.codec import encode_credentials, encode_refresh_token


VALUES = st.text(min_size=1).filter(str.strip)


@given(VALUES, VALUES)
@example('quo"te', "back\\slash")
@example("new\nline", "\x00")
def test_bodies_are_ascii_json(first: str, second: str) -> None:
    """A body is ASCII and JSON, and holds the documented fields and no other."""
    connect = encode_credentials(Credentials(first, second))
    refresh = encode_refresh_token(Secret(first))

    assert connect.isascii()
    assert refresh.isascii()
    assert json.loads(connect) == {"clientId": first, "clientSecret": second}
    assert json.loads(refresh) == {"refreshToken": first}
