"""
The error tree.

```
TaxizerError
├── ConfigurationError (ValueError)        what you passed or set is wrong
├── AuthError                              there is no usable token
│   ├── CredentialsRejectedError           Connect refused the pair
│   ├── TokenEndpointUnavailableError      network, timeout, 408, 429, 5xx
│   └── TokenResponseError                 an undocumented response
├── TokenStoreError                        an explicit store call failed
└── InvoiceError                           no verdict: see `taxizer_async.invoices`
```

An error has plain fields, never a request, a response, a header or a body. `_core.secret` says how to
raise one without a secret in its traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar


_ErrorT = TypeVar("_ErrorT", bound="TaxizerError")


def _rebuild(cls: type[_ErrorT], args: tuple[object, ...], fields: dict[str, object]) -> _ErrorT:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(fields)
    return error


class TaxizerError(Exception):
    """
    Base class of the errors of this package.

    Attributes:
        retryable: Whether the same call can succeed later without a change of code or configuration.
    """

    retryable: bool = False

    # By default, exceptions with keyword-only arguments can be neither pickled nor copied.
    def __reduce__(
        self,
    ) -> tuple[
        Callable[..., TaxizerError],
        tuple[type[TaxizerError], tuple[object, ...], dict[str, object]],
    ]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class ConfigurationError(TaxizerError, ValueError):
    """An argument or an environment variable is missing or wrong; the message names it."""


class AuthError(TaxizerError):
    """
    There is no usable token.

    A subclass is raised, except when a *credentials* callable failed, or its secret file was empty or
    missing because it was being replaced.

    Attributes:
        endpoint: The URL of the token endpoint that was asked, if one was.
        status_code: The HTTP status of its response, if there was one.
        retry_at: When the next attempt is made (aware, UTC); until then calls fail at once, from memory.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        status_code: int | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status_code = status_code
        self.retry_at = retry_at


class CredentialsRejectedError(AuthError):
    """Connect said that the clientId or the clientSecret is wrong (documented status: 400)."""

    retryable = False


class TokenEndpointUnavailableError(AuthError):
    """
    The token endpoint could not be reached, timed out, or answered 408, 429 or 5xx, at every attempt.

    This also covers a lease that another client of the same store held all the time, and a lack of threads,
    file descriptors or memory on this machine.
    """


class TokenResponseError(AuthError):
    """
    The token endpoint returned an undocumented response.

    Attributes:
        excerpt: A description of the response, without any value from it.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        status_code: int | None = None,
        retry_at: datetime | None = None,
        excerpt: str = "",
    ) -> None:
        super().__init__(message, endpoint=endpoint, status_code=status_code, retry_at=retry_at)
        self.excerpt = excerpt


class TokenStoreError(TaxizerError):
    """An explicit call to a token store failed; a failing store never fails a request."""

    retryable = True
