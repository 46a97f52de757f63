"""The error of a constructor shows no secret that was passed to it in a wrong way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from taxizer_async import (
    ConfigurationError,
    Credentials,
    Secret,
    TaxizerAuth,
    TaxizerClient,
)
from taxizer_async.httpx2 import TaxizerClient as Httpx2Client
from tests.support.canaries import SECRET, Exposed


def given(client_secret: str) -> Credentials:
    return Credentials("sandbox-client", client_secret)


@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
@pytest.mark.parametrize(
    "credentials",
    [
        SECRET,
        ("sandbox-client", SECRET),
        {"client_id": "sandbox-client", "client_secret": SECRET},
        [SECRET],
        SECRET.encode(),
    ],
    ids=["str", "tuple", "dict", "list", "bytes"],
)
def test_nothing_is_seen_of_credentials_of_a_wrong_type(
    build: Callable[..., object], credentials: Any, exposed: Exposed
) -> None:
    """The error about a secret in place of Credentials does not show it."""
    with pytest.raises(ConfigurationError) as caught:
        build(credentials)

    assert exposed(caught.value) == []


@pytest.mark.invariant(20)
@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://api.example"},
        {"base_url": "nonsense"},
        {"extra_origins": "https://other.example"},
        {"extra_origins": ["nonsense"]},
        {"on_event": 17},
        {"auth": ("user", "password")},
        {"timeout": object(), "time_out": 3},
    ],
    ids=["http", "nonsense", "str-origin", "bad-origin", "on_event", "auth", "unknown"],
)
def test_nothing_is_seen_of_a_callable_with_the_secret_in_it(
    build: Callable[..., object], options: dict[str, Any], exposed: Exposed
) -> None:
    """A partial that holds the secret is in no frame of an error about another argument."""
    with pytest.raises((ConfigurationError, TypeError)) as caught:
        build(partial(given, SECRET), **options)

    assert exposed(caught.value) == []


@pytest.mark.invariant(20)
@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
@pytest.mark.parametrize(
    "wrong", [SECRET, ("id", SECRET), {"secret": SECRET}, partial(given, SECRET)]
)
@pytest.mark.parametrize(
    "argument", ["store", "policy", "http_client", "on_event", "extra_origins", "clock"]
)
def test_nothing_is_seen_of_a_secret_in_another_argument(
    build: Callable[..., object], argument: str, wrong: Any, exposed: Exposed
) -> None:
    """A secret that was passed as another argument is in no frame, whichever argument is at fault."""
    with pytest.raises(ConfigurationError) as caught:
        build(Credentials("sandbox-client", "another"), base_url="nonsense", **{argument: wrong})

    assert exposed(caught.value) == []


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "nonsense"},
        {"auth": ("user", SECRET)},
        {"auth": ("user", SECRET), "http_client": partial(given, SECRET)},
        {"transport": partial(given, SECRET)},
    ],
    ids=["base_url", "auth", "auth and http_client", "transport"],
)
@pytest.mark.parametrize("build", [TaxizerClient, Httpx2Client], ids=["httpx", "httpx2"])
def test_nothing_is_seen_of_the_options_of_httpx(
    build: Callable[..., object], options: dict[str, Any], exposed: Exposed
) -> None:
    """A password of a proxy, or a key in a header, is in no frame of an error about another option."""
    httpx_options: dict[str, Any] = {
        "proxy": f"http://user:{SECRET}@proxy.example",
        "headers": {"X-Key": SECRET},
    }
    with pytest.raises(ConfigurationError) as caught:
        build(Credentials("sandbox-client", "another"), **httpx_options, **options)

    assert exposed(caught.value) == []


@pytest.mark.parametrize("build", [TaxizerAuth, TaxizerClient])
@pytest.mark.parametrize(
    "base_url",
    [
        f"https://user:{SECRET}@api.example",
        f"https://user:{SECRET}@api.example:port",
        f"https://{SECRET}@api.example",
        f"http://user:{SECRET}@api.example",
        f"https://user:{SECRET}@[::1",
        f"ftp://user:{SECRET}@api.example",
        f"https://api.example/?secret={SECRET}",
        f"http://api.example/?secret={SECRET}",
        f"https://api.example/#{SECRET}",
    ],
)
@pytest.mark.parametrize("argument", ["base_url", "extra_origins"])
def test_nothing_is_seen_of_a_password_in_a_url(
    build: Callable[..., object], base_url: str, argument: str, exposed: Exposed
) -> None:
    """A URL with a password is refused without it in the message or in a frame."""
    options: dict[str, Any] = {argument: base_url if argument == "base_url" else [base_url]}
    with pytest.raises(ConfigurationError) as caught:
        build(Credentials("sandbox-client", "another"), **options)

    assert exposed(caught.value) == []


@pytest.mark.parametrize("kind", [Secret, Credentials, TaxizerAuth, TaxizerClient])
def test_a_half_built_object_has_a_repr(kind: type[Any]) -> None:
    """The repr of a half-built object works, so that an error reporter can show a failing constructor."""
    assert "cnry" not in repr(object.__new__(kind))


def test_nothing_is_seen_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, exposed: Exposed
) -> None:
    """The error about an incomplete or contradictory environment does not show the secret in it."""
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", SECRET)
    with pytest.raises(ConfigurationError) as incomplete:
        TaxizerClient.from_env()
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET_FILE", "secret.txt")
    with pytest.raises(ConfigurationError) as doubled:
        TaxizerClient.from_env()
    monkeypatch.delenv("TAXIZER_CLIENT_SECRET")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET_FILE", SECRET)
    with pytest.raises(ConfigurationError) as unreadable:
        TaxizerClient.from_env()
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", SECRET)
    monkeypatch.delenv("TAXIZER_CLIENT_SECRET_FILE")
    monkeypatch.setenv("TAXIZER_BASE_URL", f"https://user:{SECRET}@api.example")
    with pytest.raises(ConfigurationError) as misplaced:
        TaxizerClient.from_env(headers={"X-Key": SECRET})

    errors = (incomplete.value, doubled.value, unreadable.value, misplaced.value)
    assert exposed(*errors) == []
