"""
What is remembered of a failed exchange, and the errors that are made of it.

One failure is shared by many callers, so it is a value; each caller gets an exception of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

import attrs

from taxizer_async._core.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejectedError,
    TokenEndpointUnavailableError,
    TokenResponseError,
    TokenStoreError,
)
from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._core.models import Credentials


@attrs.frozen
class CredentialsUnavailable:
    """A *credentials* callable gave none; *reason* says why, by the class of what it raised or in our words."""

    reason: str


@attrs.frozen
class LeaseNeverFree:
    """Somebody else had the lease of the token store for all of *seconds*."""

    seconds: float


Cause: TypeAlias = (
    Refused | Unavailable | Malformed | Misconfigured | CredentialsUnavailable | LeaseNeverFree
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Failure:
    """
    Why there is no token.

    Attributes:
        cause: What the exchange came to.
        endpoint: The URL that was asked.
        until: Until when (`Clock.monotonic`) it is served from memory, without a look at anything.
        retry_at: When the server is asked again, epoch seconds by the wall clock.
        rejected: The credentials that Connect refused, if it did …
        rejected_until: … and until when (`Clock.monotonic`) that is taken for granted.
        ahead_of_need: Whether there was a living token at the end of it, so that one attempt was made.
    """

    cause: Cause
    endpoint: str
    until: float
    retry_at: float
    rejected: Credentials | None
    rejected_until: float
    ahead_of_need: bool

    @property
    def retry_at_utc(self) -> datetime:
        """The time of the next try, aware."""
        return datetime.fromtimestamp(self.retry_at, UTC)

    @property
    def status_code(self) -> int | None:
        """The status of the answer, if there was one."""
        return getattr(self.cause, "status_code", None)

    @property
    def error_name(self) -> str:
        """The name of the class of `error`."""
        return type(self.error()).__name__

    @property
    def answers_need(self) -> bool:
        """Whether callers without a token have to accept it: one attempt ahead of need is not enough."""
        return not self.ahead_of_need or isinstance(self.cause, Refused)

    def describe(self) -> str:
        """Say what happened, at which endpoint, and what to do."""
        cause = self.cause
        if isinstance(cause, Refused):
            return (
                f"{self.endpoint} rejected the credentials ({cause.status_code}): check the "
                "clientId and the clientSecret in the Taxizer dashboard"
            )
        if isinstance(cause, Unavailable):
            has_answer = cause.status_code is not None
            where = self.endpoint if has_answer else f"no token from {self.endpoint}:"
            return f"{where} {cause.reason}"
        if isinstance(cause, Malformed):
            return (
                f"{self.endpoint} answered {cause.status_code} with {cause.excerpt}, which is not "
                "documented: check base_url, and any proxy between you and the API"
            )
        if isinstance(cause, Misconfigured):
            return cause.reason
        if isinstance(cause, LeaseNeverFree):
            return (
                f"another client has had the lease of the token store for {cause.seconds:g} s, so "
                f"{self.endpoint} was not asked"
            )
        return f"the credentials callable {cause.reason}, so {self.endpoint} was not asked"

    def error(self, *, from_memory: bool = False) -> AuthError | ConfigurationError:
        """Return a new exception that says it, and when the next try is."""
        if isinstance(self.cause, Misconfigured):
            return ConfigurationError(self.describe())
        when = f"{self.retry_at_utc:%H:%M:%S}Z"
        message = f"{self.describe()}; the next try is at {when}"
        if from_memory:
            message = f"the last attempt failed, and the next one is at {when}: {self.describe()}"
        if isinstance(self.cause, Malformed):
            return TokenResponseError(
                message,
                endpoint=self.endpoint,
                status_code=self.status_code,
                retry_at=self.retry_at_utc,
                excerpt=self.cause.excerpt,
            )
        return self._error_class()(
            message,
            endpoint=self.endpoint,
            status_code=self.status_code,
            retry_at=self.retry_at_utc,
        )

    def _error_class(self) -> type[AuthError]:
        if isinstance(self.cause, Refused):
            return CredentialsRejectedError
        if isinstance(self.cause, (Unavailable, LeaseNeverFree)):
            return TokenEndpointUnavailableError
        return AuthError


def describe_refresh(outcome: Refused | Unavailable | Malformed) -> str:
    """Say why AppRefreshToken brought no token, and a login follows."""
    match outcome:
        case Unavailable(reason=reason, status_code=status_code, not_processed=not_processed):
            has_answer = status_code is not None
            text = (
                f"AppRefreshToken {reason}"
                if has_answer
                else f"no answer from AppRefreshToken ({reason})"
            )
            return text if not_processed else f"{text}; the refresh token may be spent"
        case Malformed(status_code=status_code, excerpt=excerpt):
            return f"AppRefreshToken answered {status_code} with {excerpt}"
        case Refused(status_code=status_code):
            return f"AppRefreshToken refused the refresh token ({status_code})"


def untimed(problem: str, endpoint: str) -> Failure:
    """Return a failure that the user's part has caused, and that can't be kept, as the time is not known."""
    return Failure(
        cause=Misconfigured(reason=problem),
        endpoint=endpoint,
        until=0.0,
        retry_at=0.0,
        rejected=None,
        rejected_until=0.0,
        ahead_of_need=False,
    )


def not_cleared(problem: str) -> TokenStoreError:
    """Return the error of a `forget` that could not drop the token in the store."""
    return TokenStoreError(
        f"the token store could not drop the token ({problem}): it is dropped in this process, but others "
        "may go on with it; try again when the store is back"
    )
