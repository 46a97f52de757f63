"""
The outcomes of asking a token endpoint, and the protocol of the object that asks.

Outcomes are values rather than exceptions, as all callers that waited share one, and as the frames of an
exception would show what was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

import attrs

from taxizer_async._core.events import ExchangeKind
from taxizer_async._core.models import Credentials, Token
from taxizer_async._core.secret import Secret


NO_TIME: Final = "there was no time left to ask it"
_TRY_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Issued:
    """
    A token was issued.

    Attributes:
        lifetime: Seconds from *requested_at* until it expires; None if unknown.
        refresh_lifetime: The same for its refresh token.
        requested_at: `Clock.monotonic` just before the request was sent.
        elapsed: Seconds until the response was received, retries included.
    """

    token: Token
    lifetime: float | None
    refresh_lifetime: float | None
    requested_at: float
    elapsed: float


@attrs.frozen(kw_only=True)
class Refused:
    """The endpoint refused: 400, 401 or 403."""

    status_code: int


@attrs.frozen(kw_only=True)
class Unavailable:
    """
    There was no response, or one that asks to try later.

    Attributes:
        reason: What happened, as part of a message.
        retry_after: Seconds that the server asked to wait.
        not_processed: Whether it is certain that the server did not process the request.
    """

    reason: str
    status_code: int | None = None
    retry_after: float | None = None
    not_processed: bool = False


@attrs.frozen(kw_only=True)
class Malformed:
    """
    A response that the API does not document.

    Attributes:
        excerpt: A description of it without any value from it.
        is_the_apis: Whether it is JSON, and so comes from the API: another attempt would get the same.
            The pages of proxies, gateways and firewalls are not JSON.
    """

    status_code: int
    excerpt: str
    is_the_apis: bool = False


@attrs.frozen(kw_only=True)
class Misconfigured:
    """The user's part failed, so nothing was sent; *reason* is part of a message."""

    reason: str


Outcome: TypeAlias = Issued | Refused | Unavailable | Malformed | Misconfigured


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryBudget:
    """
    How hard to try.

    Attributes:
        deadline: When the exchange has to end (`Clock.monotonic`).
        wants_more: Returns whether to try again after an attempt with this outcome: ahead of need, one is
            enough.
    """

    deadline: float
    wants_more: Callable[[Unavailable | Malformed], bool]


class Exchange(Protocol):
    """Asks a token endpoint; it raises nothing because of what the network or the server does."""

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in."""
        ...

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        """Renew, in one attempt: if it fails, a login follows."""
        ...


def may_pass(status: int) -> bool:
    """Return whether an endpoint that answered *status* may answer otherwise in a while: 408, 429 and 5xx."""
    return status in _TRY_LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR


#: Is called when a call begins, and returns what is called with its outcome: None if it was cancelled.
ExchangeTracer: TypeAlias = "Callable[[ExchangeKind], Callable[[Outcome | None], None]]"
