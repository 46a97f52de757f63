from __future__ import annotations

import copy

from datetime import UTC, datetime
from typing import Any, cast

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st

from taxizer_async import ConfigurationError, Credentials, Secret, Token, TokenState


def test_takes_a_string_or_a_secret() -> None:
    """A secret given as a string is wrapped, and a `Secret` is kept; both parts can be named."""
    secret = Secret("s3cret")

    assert Credentials("app", secret).client_secret is secret
    assert Credentials(client_id="app", client_secret="s3cret") == Credentials("app", secret)


@given(st.text(min_size=1), st.text(min_size=1))
def test_keeps_what_it_was_given(client_id: str, client_secret: str) -> None:
    """Nothing is stripped or changed; only blank parts are refused."""
    if not client_id.strip() or not client_secret.strip():
        with pytest.raises(ConfigurationError, match="is empty"):
            Credentials(client_id, client_secret)
        return
    credentials = Credentials(client_id, client_secret)

    assert credentials.client_id == client_id
    assert credentials.client_secret.reveal() == client_secret


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t \r\n"], ids=repr)
def test_refuses_blanks(blank: str) -> None:
    """A blank part is refused by name, with what to do."""
    with pytest.raises(ConfigurationError, match=r"^client_id is empty: copy it from"):
        Credentials(blank, "s3cret")
    with pytest.raises(ConfigurationError, match=r"^client_secret is empty: copy it from"):
        Credentials("app", blank)
    with pytest.raises(ConfigurationError, match=r"^client_secret is empty: copy it from"):
        Credentials("app", Secret(blank))


@pytest.mark.parametrize("value", [None, b"x", 7, ["x"]], ids=repr)
def test_refuses_other_types(value: Any) -> None:
    """A part of another type is refused by name and type."""
    kind = type(value).__name__
    with pytest.raises(ConfigurationError, match=f"^client_id must be a str, not {kind}$"):
        Credentials(value, "s3cret")
    with pytest.raises(
        ConfigurationError, match=f"^client_secret must be a str or a Secret, not {kind}$"
    ):
        Credentials("app", value)


def test_is_a_value() -> None:
    """Credentials with equal parts are equal and hash alike; a rotated secret makes them differ."""
    assert Credentials("app", "a") == Credentials("app", "a")
    assert hash(Credentials("app", "a")) == hash(Credentials("app", "a"))
    assert Credentials("app", "a") != Credentials("app", "b")
    assert Credentials("app", "a") != Credentials("other", "a")


def test_is_frozen() -> None:
    """Credentials and tokens are immutable, as they are shared."""
    assert copy.copy(Credentials("app", "a")) == copy.deepcopy(Credentials("app", "a"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        cast("Any", Credentials("app", "a")).client_id = "other"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        cast("Any", Token(jwt=Secret("j"))).jwt = Secret("k")


def test_a_token_needs_its_jwt_alone() -> None:
    """Every field except the JWT may be unknown."""
    token = Token(jwt=Secret("j"))

    assert attrs.asdict(token) == {
        "app_id": None,
        "app_name": None,
        "account_id": None,
        "account_name": None,
        "username": None,
        "jwt": Secret("j"),
        "expires_at": None,
        "refresh_token": None,
        "refresh_expires_at": None,
    }


@pytest.mark.report(69)
def test_a_token_shows_all_but_its_secrets() -> None:
    """The repr shows the owner and the expiry of a token, and neither JWT nor refresh token."""
    token = Token(
        app_id="id-1",
        jwt=Secret("j3j"),
        refresh_token=Secret("r3r"),
        expires_at=datetime(2024, 9, 15, tzinfo=UTC),
    )

    assert "id-1" in repr(token)
    assert "2024" in repr(token)
    assert "j3j" not in repr(token)
    assert "r3r" not in repr(token)


def test_token_states_are_their_names() -> None:
    """A state prints as a word for dashboards."""
    assert " ".join(TokenState) == "none fresh renewal_due expired refused"
    assert TokenState("refused") is TokenState.REFUSED
