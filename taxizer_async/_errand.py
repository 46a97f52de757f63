"""What a flight is about, and where it leads: the arguments of a `Renewal`, and no behaviour."""

from __future__ import annotations

import attrs

from taxizer_async._held import Held
from taxizer_async._models import Credentials


@attrs.frozen(kw_only=True, eq=False)
class Endpoints:
    """The API that tokens are for, and the URLs of its two token endpoints."""

    base_url: str
    connect: str
    refresh: str


@attrs.define(kw_only=True, eq=False, repr=False)
class Errand:
    """
    What one flight is about.

    Attributes:
        stale: The token to replace.
        attempts: Requests to make at most …
        seconds: … and what they may take.
        waits: Seconds to wait while somebody else has the lease …
        urgent: … and whether to log in without it then, as there is no token to go on with.
        epoch: The state's when this began.
        asked: The credentials, once they were asked for and until they are used.
    """

    stale: Held | None
    attempts: int
    seconds: float
    waits: float
    urgent: bool
    epoch: int
    asked: Credentials | None = None
