"""
What can be told of a sandbox: the counters' snapshot and the entries of its logs.

Values only; who fills them in is `_sandbox_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

import attrs


@final
@attrs.frozen(kw_only=True)
class SandboxCounters:
    """
    What a sandbox had counted at one moment; a request counts once its head has arrived.

    Attributes:
        connects: Requests to Connect.
        connects_ok: Those that were issued tokens, whether or not the answer got through.
        refreshes: Requests to AppRefreshToken.
        refreshes_ok: Those that were issued tokens, whether or not the answer got through.
        reuses: Spent refresh tokens that were presented again.
        resources: All other requests.
        resources_ok: Those that were accepted (a 2xx that is not a fault's).
        unauthorized: Those that were answered 401.
        max_concurrent_exchanges: The most exchanges that were under way at a time; one whose
            client has left no longer is.
        by_path: Requests per path.
    """

    connects: int = 0
    connects_ok: int = 0
    refreshes: int = 0
    refreshes_ok: int = 0
    reuses: int = 0
    resources: int = 0
    resources_ok: int = 0
    unauthorized: int = 0
    max_concurrent_exchanges: int = 0
    by_path: Mapping[str, int] = attrs.field(factory=dict[str, int])

    @property
    def exchanges(self) -> int:
        """Connects and refreshes."""
        return self.connects + self.refreshes


@final
@attrs.frozen(kw_only=True)
class ExchangeEntry:
    """
    One finished request to an auth endpoint.

    Attributes:
        kind: Which endpoint.
        started_at: When its head had arrived (`time.monotonic`).
        finished_at: When its answer was about to be sent (`time.monotonic`).
        status: The answer's status; None if there was none to send.
        had_authorization_header: Whether it carried one; the contract does not ask for it.
    """

    kind: Literal["connect", "refresh"]
    started_at: float
    finished_at: float
    status: int | None
    had_authorization_header: bool


@final
@attrs.frozen(kw_only=True)
class ResourceEntry:
    """
    One finished request to anything else.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The answer's status; None if there was none to send.
        jwt_id: Which JWT it carried (the first one issued is 1); None if not one of ours.
        body: The request's body.
        received_at: When its head had arrived (`time.monotonic`).
    """

    method: str
    path: str
    status: int | None
    jwt_id: int | None
    body: bytes = attrs.field(repr=False)
    received_at: float
