"""
What can come of asking a token endpoint, as values, and the protocol of who asks.

They are values and not exceptions because one outcome is shared by all who waited for it, and because
the frames of an exception would show what was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from taxizer_async._core.models import Token


if TYPE_CHECKING:
    from taxizer_async._core.models import Credentials
    from taxizer_async._core.secret import Secret


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Issued:
    """
    A token came.

    Attributes:
        token: The token.
        lifetime: Seconds from *requested_at* that it lasts; None if the answer did not say.
        refresh_lifetime: Seconds from *requested_at* that its refresh token lasts, likewise.
        requested_at: `Clock.monotonic` before the request was sent.
        elapsed: Seconds until the answer was there, retries included.
    """

    token: Token
    lifetime: float | None
    refresh_lifetime: float | None
    requested_at: float
    elapsed: float


@attrs.frozen(kw_only=True)
class Refused:
    """The endpoint said no: 400, 401 or 403."""

    status_code: int


@attrs.frozen(kw_only=True)
class Unavailable:
    """
    No answer, or one that says "not now".

    Attributes:
        reason: What happened, fit for a message.
        status_code: The answer's status, if there was one.
        retry_after: Seconds that the server asked to be left alone.
        not_processed: Whether the server certainly did not process the request.
    """

    reason: str
    status_code: int | None = None
    retry_after: float | None = None
    not_processed: bool = False


@attrs.frozen(kw_only=True)
class Malformed:
    """
    An answer that is not documented.

    Attributes:
        status_code: Its status.
        excerpt: Describes it without a value from it.
        is_the_apis: Whether it is JSON, and so the API's own: another attempt would get the same. The
            page of a proxy, a gateway or a firewall is not.
    """

    status_code: int
    excerpt: str
    is_the_apis: bool = False


@attrs.frozen(kw_only=True)
class Misconfigured:
    """The user's part failed, so nothing was sent; *reason* is fit for a message."""

    reason: str


Outcome: TypeAlias = Issued | Refused | Unavailable | Malformed | Misconfigured


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryBudget:
    """
    How hard to try.

    Attributes:
        deadline: When all has to be over (`Clock.monotonic`).
        wants_more: Returns whether another attempt is worth while after one that failed: ahead of need
            one is enough.
    """

    deadline: float
    wants_more: Callable[[], bool]


class Exchange(Protocol):
    """
    Asks a token endpoint.

    Neither method raises on anything that the network or the server does.
    """

    async def connect(self, credentials: Credentials, budget: RetryBudget, /) -> Outcome:
        """Log in."""
        ...

    async def refresh(self, refresh_token: Secret, budget: RetryBudget, /) -> Outcome:
        """Renew, in one attempt: a login is what follows one that fails."""
        ...
