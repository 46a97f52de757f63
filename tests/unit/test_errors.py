from __future__ import annotations

import copy
import pickle

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from taxizer_async import (
    AuthError,
    ConfigurationError,
    CredentialsRejectedError,
    TaxizerError,
    TokenEndpointUnavailableError,
    TokenResponseError,
    TokenStoreError,
)


WHEN = datetime(2024, 9, 15, 12, 28, 18, tzinfo=UTC)

ERRORS = [
    pytest.param(TaxizerError("told"), False, id="TaxizerError"),
    pytest.param(ConfigurationError("told"), False, id="ConfigurationError"),
    pytest.param(AuthError("told"), True, id="AuthError"),
    pytest.param(
        CredentialsRejectedError("told", endpoint="/c", status_code=400, retry_at=WHEN),
        False,
        id="CredentialsRejectedError",
    ),
    pytest.param(
        TokenEndpointUnavailableError("told", endpoint="/c", status_code=503, retry_at=WHEN),
        True,
        id="TokenEndpointUnavailableError",
    ),
    pytest.param(
        TokenResponseError("told", endpoint="/c", status_code=200, retry_at=WHEN, excerpt="a list"),
        True,
        id="TokenResponseError",
    ),
    pytest.param(TokenStoreError("told"), True, id="TokenStoreError"),
]

BARE = [pytest.param(param.values[0], id=str(param.id)) for param in ERRORS]

COPIES = [
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    *(
        pytest.param(lambda e, p=p: pickle.loads(pickle.dumps(e, p)), id=f"pickle {p}")
        for p in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("clone", COPIES)
@pytest.mark.parametrize(("error", "retryable"), ERRORS)
def test_copies(
    error: TaxizerError, retryable: bool, clone: Callable[[TaxizerError], TaxizerError]
) -> None:
    """A copy is of the same class, with message, fields and `retryable`."""
    assert error.retryable is retryable
    twin = clone(error)

    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == "told"
    assert twin.args == error.args
    assert twin.retryable is retryable
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("clone", COPIES)
@pytest.mark.parametrize("error", BARE)
def test_notes_survive(error: TaxizerError, clone: Callable[[TaxizerError], TaxizerError]) -> None:
    """A note that a caller added is in the copy, which takes more notes."""
    noted = type(error)(*error.args)
    noted.add_note("while invoicing")
    twin = clone(noted)

    assert twin.__notes__ == ["while invoicing"]
    twin.add_note("and again")
    assert twin.__notes__ == ["while invoicing", "and again"]


@pytest.mark.parametrize(
    "cls", [AuthError, CredentialsRejectedError, TokenEndpointUnavailableError, TokenResponseError]
)
def test_fields(cls: type[AuthError]) -> None:
    """Each error about tokens carries endpoint, status and time of the next try, or None."""
    bare = cls("told")
    full = cls("told", endpoint="/c", status_code=429, retry_at=WHEN)

    assert (bare.endpoint, bare.status_code, bare.retry_at) == (None, None, None)
    assert (full.endpoint, full.status_code, full.retry_at) == ("/c", 429, WHEN)
    assert TokenResponseError("told").excerpt == ""


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (ConfigurationError, (TaxizerError, ValueError)),
        (AuthError, (TaxizerError,)),
        (CredentialsRejectedError, (AuthError,)),
        (TokenEndpointUnavailableError, (AuthError,)),
        (TokenResponseError, (AuthError,)),
        (TokenStoreError, (TaxizerError,)),
    ],
)
def test_tree(cls: type[TaxizerError], bases: tuple[type, ...]) -> None:
    """The tree is the documented one."""
    assert cls.__bases__ == bases


@pytest.mark.parametrize("error", BARE)
def test_a_copy_has_no_context(error: TaxizerError) -> None:
    """A pickled error has no cause, context or traceback."""
    with pytest.raises(TaxizerError) as caught:
        raise error from ValueError("inner")
    twin = pickle.loads(pickle.dumps(caught.value))

    assert twin.__cause__ is None
    assert twin.__context__ is None
    assert twin.__traceback__ is None


def test_subclasses_of_users_copy() -> None:
    """A subclass with an additional field can be copied, too."""

    class BillingError(AuthError):
        def __init__(self, *, invoice: int) -> None:
            super().__init__(f"invoice {invoice}", status_code=500)
            self.invoice = invoice

    twin = copy.deepcopy(BillingError(invoice=7))

    assert (str(twin), twin.invoice, twin.status_code) == ("invoice 7", 7, 500)
