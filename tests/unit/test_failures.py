from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taxizer_async import (
    AuthError,
    ConfigurationError,
    Credentials,
    CredentialsRejectedError,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._token.failures import Cause, CredentialsUnavailable, Failure, LeaseNeverFree


WHERE = "https://apistaging.taxizer.com/v1/Auth/Connect"
WHEN = datetime(2027, 1, 15, 8, 0, 7, tzinfo=UTC)

CAUSES = [
    pytest.param(
        Refused(status_code=400),
        CredentialsRejectedError,
        f"{WHERE} rejected the credentials (400): check the clientId and the clientSecret",
        400,
        False,
        id="refused",
    ),
    pytest.param(
        Unavailable(reason="answered 503 Service Unavailable", status_code=503),
        TokenEndpointUnavailableError,
        f"{WHERE} answered 503 Service Unavailable",
        503,
        True,
        id="unavailable",
    ),
    pytest.param(
        Unavailable(reason="ConnectError: refused", not_processed=True),
        TokenEndpointUnavailableError,
        f"no token from {WHERE}: ConnectError: refused",
        None,
        True,
        id="no connection",
    ),
    pytest.param(
        Malformed(status_code=200, excerpt="an HTML page of 7 bytes"),
        TokenResponseError,
        f"{WHERE} answered 200 with an HTML page of 7 bytes, which is not documented",
        200,
        True,
        id="malformed success",
    ),
    pytest.param(
        Malformed(status_code=404, excerpt="an empty body"),
        TokenResponseError,
        f"{WHERE} answered 404 with an empty body, which is not documented",
        404,
        True,
        id="malformed",
    ),
    pytest.param(
        CredentialsUnavailable("raised VaultError"),
        AuthError,
        f"the credentials callable raised VaultError, so {WHERE} was not asked",
        None,
        True,
        id="credentials unavailable",
    ),
    pytest.param(
        LeaseNeverFree(30.0),
        TokenEndpointUnavailableError,
        f"another client has had the lease of the token store for 30 s, so {WHERE} was not asked",
        None,
        True,
        id="lease never free",
    ),
]


SAID = [pytest.param(p.values[0], p.values[2], id=str(p.id)) for p in CAUSES]


def _failure(cause: Cause, **changes: Any) -> Failure:
    fields: dict[str, Any] = {
        "cause": cause,
        "endpoint": WHERE,
        "until": 1_060.0,
        "retry_at": WHEN.timestamp(),
        "rejected": None,
        "rejected_until": 1_060.0,
        "ahead_of_need": False,
    }
    return Failure(**fields | changes)


@pytest.mark.parametrize(("cause", "cls", "text", "status", "retryable"), CAUSES)
def test_error(
    cause: Cause, cls: type[AuthError], text: str, status: int | None, retryable: bool
) -> None:
    """Each cause gives each caller its own error: what happened, where, and when the next try is."""
    error = _failure(cause).error()

    assert type(error) is cls
    assert isinstance(error, AuthError)
    assert error.endpoint == WHERE
    assert error.status_code == status
    assert error.retry_at == WHEN
    assert error.retryable is retryable
    assert str(error).startswith(text)
    assert str(error).endswith("; the next try is at 08:00:07Z")
    assert _failure(cause).error() is not error
    assert _failure(cause).error_name == cls.__name__


@pytest.mark.report(78)
@pytest.mark.parametrize(("cause", "text"), SAID)
def test_message_from_memory(cause: Cause, text: str) -> None:
    """An error from memory says so, and until when, before it says why (report 78)."""
    failure = _failure(cause)
    error = failure.error(from_memory=True)

    assert type(error) is type(failure.error())
    assert str(error).startswith(
        f"the last attempt failed, and the next one is at 08:00:07Z: {text}"
    )
    assert "next try" not in str(error)


@pytest.mark.parametrize("from_memory", [False, True])
def test_misconfigured(from_memory: bool) -> None:
    """An error that the user has to fix says only that, as no later attempt will help."""
    error = _failure(Misconfigured(reason="http_client returned int")).error(
        from_memory=from_memory
    )

    assert type(error) is ConfigurationError
    assert str(error) == "http_client returned int"
    assert not error.retryable


def test_an_undocumented_answer_is_described() -> None:
    """The excerpt is a field of the error, too."""
    error = _failure(Malformed(status_code=200, excerpt="a JSON list")).error()

    assert isinstance(error, TokenResponseError)
    assert error.excerpt == "a JSON list"


@pytest.mark.parametrize(
    ("cause", "ahead_of_need", "answers"),
    [
        (Unavailable(reason="x"), False, True),
        (Unavailable(reason="x"), True, False),
        (Malformed(status_code=200, excerpt="x"), True, False),
        (CredentialsUnavailable("x"), True, False),
        (LeaseNeverFree(1.0), True, False),
        (Refused(status_code=400), False, True),
        (Refused(status_code=400), True, True),
    ],
    ids=repr,
)
def test_answers_need(cause: Cause, ahead_of_need: bool, answers: bool) -> None:
    """A failed attempt ahead of need does not fail callers that need a token, unless it was a refusal."""
    assert _failure(cause, ahead_of_need=ahead_of_need).answers_need is answers


def test_rejected_credentials_are_masked(
    canary: str, leaks: Callable[[BaseException], list[str]]
) -> None:
    """Refused credentials are remembered, and shown by neither failure nor error."""
    failure = _failure(Refused(status_code=400), rejected=Credentials("app", canary))

    assert canary not in repr(failure)
    assert canary not in failure.describe()
    assert leaks(failure.error(from_memory=True)) == []
