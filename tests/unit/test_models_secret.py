from __future__ import annotations

import copy
import pickle
import string

from typing import Any, cast

import attrs
import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from taxizer_async import ConfigurationError, Credentials, Secret, Token


@pytest.fixture(name="secret")
def _secret(canary: str) -> Secret:
    return Secret(canary)


@pytest.mark.report(68, 69)
@pytest.mark.parametrize(
    "show",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(ascii, id="ascii"),
        pytest.param(lambda s: f"{s}", id="f-string"),
        pytest.param(lambda s: f"{s!r}", id="f-string repr"),
        pytest.param(lambda s: f"{s:>20}", id="f-string with a width"),
        pytest.param("{}".format, id="format"),
        pytest.param(lambda s: "%s %r" % (s, s), id="percent"),  # noqa: UP031 - that is the point
        pytest.param(lambda s: string.Template("$s").substitute(s=s), id="template"),
        pytest.param(lambda s: repr([s, {"s": s}]), id="container"),
        pytest.param(lambda s: repr(attrs.asdict(Credentials("app", s))), id="asdict of its owner"),
        pytest.param(lambda s: repr(attrs.astuple(Token(jwt=s))), id="astuple of its owner"),
        pytest.param(lambda s: repr(Credentials("app", s)), id="repr of credentials"),
        pytest.param(lambda s: repr(Token(jwt=s, refresh_token=s)), id="repr of a token"),
    ],
)
def test_shows_a_mask(secret: Secret, canary: str, show: Any) -> None:
    """Any text made of a secret is a mask."""
    text = show(secret)

    assert "***" in text
    assert canary not in text


@given(st.text(), st.text())
@example("\udc80", "\udc81")
def test_equality(a: str, b: str) -> None:
    """Two secrets are equal, and hash alike, exactly when their strings are equal."""
    assert (Secret(a) == Secret(b)) is (a == b)
    assert Secret(a) == Secret(a)
    assert hash(Secret(a)) == hash(Secret(a))
    assert {Secret(a): 1}[Secret(a)] == 1


def test_is_no_string(secret: Secret, canary: str) -> None:
    """A secret and its string are neither equal nor hash alike, so that they can't be mixed up."""
    assert secret != canary
    assert canary != secret
    assert hash(secret) != hash(canary)


@pytest.mark.parametrize("value", [b"c4n4ry-5ecret", None, 1, ["c4n4ry-5ecret"]], ids=repr)
def test_holds_strings_only(value: object, canary: str) -> None:
    """Anything but a string is refused, and only its type is named."""
    with pytest.raises(ConfigurationError, match=f"not {type(value).__name__}$") as caught:
        Secret(cast("str", value))

    assert canary not in str(caught.value)


def test_is_immutable(secret: Secret, canary: str) -> None:
    """It can be neither changed nor emptied, and has no `__dict__` that `vars` could print."""
    assert not hasattr(secret, "__dict__")
    with pytest.raises(AttributeError, match="immutable"):
        secret._value = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del secret._value
    with pytest.raises(AttributeError, match="immutable"):
        cast("Any", secret).note = "other"

    assert secret.reveal() == canary


def test_copies_are_itself(secret: Secret) -> None:
    """A copy is the same object, as it is immutable."""
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@pytest.mark.report(68, 92)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="itself"),
        pytest.param(lambda s: [s], id="in a list"),
        pytest.param(lambda s: Credentials("app", s), id="in credentials"),
        pytest.param(lambda s: Token(jwt=s), id="in a token"),
    ],
)
def test_refuses_to_be_pickled(secret: Secret, protocol: int, wrap: Any, leaks: Any) -> None:
    """Neither a secret nor its holder can be pickled, and the error says what to do instead."""
    with pytest.raises(TypeError, match=r"Credentials\.from_env") as caught:
        pickle.dumps(wrap(secret), protocol)

    assert leaks(caught.value) == []


def test_state_is_refused_too(secret: Secret) -> None:
    """A pickler that asks for the state directly gets nothing either."""
    for method in (secret.__getstate__, secret.__reduce__):
        with pytest.raises(TypeError, match="never pickled"):
            method()
