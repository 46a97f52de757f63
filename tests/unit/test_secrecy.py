from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from taxizer_async import ConfigurationError, Credentials, Secret, Token
from taxizer_async._http.response import RawResponse
from taxizer_async._token.credentials_source import CredentialsSource


CANARY: Any = "c4n4ry-5ecret"


class Stringly(str):
    """An object that a vault client might return."""

    __slots__ = ()


@pytest.mark.report(68)
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: Secret(CANARY.encode()), id="secret of bytes"),
        pytest.param(lambda: Secret(cast("Any", [CANARY])), id="secret of a list"),
        pytest.param(lambda: Credentials("app", CANARY.encode()), id="bytes"),
        pytest.param(lambda: Credentials("app", cast("Any", {"s": CANARY})), id="a dict"),
        pytest.param(lambda: Credentials("", CANARY), id="no client_id"),
        pytest.param(lambda: Credentials("  ", Secret(CANARY)), id="blank client_id"),
        pytest.param(lambda: Credentials(cast("Any", None), CANARY), id="client_id of None"),
        pytest.param(lambda: Credentials("", Stringly(CANARY)), id="a str subclass"),
        pytest.param(
            lambda: Credentials(client_id=cast("Any", 7), client_secret=CANARY), id="by keyword"
        ),
        pytest.param(lambda: CredentialsSource(CANARY).check(), id="source of a string"),
        pytest.param(
            lambda: CredentialsSource(cast("Any", ("app", CANARY))).check(), id="of a pair"
        ),
    ],
)
def test_failed_constructions(
    build: Callable[[], object], leaks: Callable[[BaseException], list[str]]
) -> None:
    """A constructor that fails leaves the secret in no message and in no frame of the package."""
    with pytest.raises(ConfigurationError) as caught:
        build()

    assert caught.value.__context__ is None
    assert leaks(caught.value) == []


def test_a_failed_token(leaks: Callable[[BaseException], list[str]]) -> None:
    """A token that lacks its JWT shows no other secret of it."""
    with pytest.raises(TypeError) as caught:
        cast("Any", Token)(refresh_token=Secret(CANARY))

    assert leaks(caught.value) == []


def test_an_answer_does_not_show_its_body() -> None:
    """The `repr` of an answer holds neither its body nor its headers."""
    answer = RawResponse(headers={"set-cookie": CANARY}, raw=bytearray(CANARY, "ascii"))

    assert CANARY not in repr(answer)
