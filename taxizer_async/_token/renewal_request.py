"""What a refresh is about, and what can come of one step of it, as values."""

from __future__ import annotations

import enum

from typing import TypeAlias

import attrs

from taxizer_async._core.models import Credentials
from taxizer_async._token.cached_token import CachedToken
from taxizer_async._token.failures import Failure


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Endpoints:
    """The API that tokens are for, and the URLs of its two token endpoints."""

    base_url: str
    connect: str
    refresh: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RenewalRequest:
    """
    What one refresh is about.

    Attributes:
        stale: The token to replace.
        generation: The cache's when this began.
        deadline: When it ends, whatever has come of it by then (`Clock.monotonic`).
    """

    stale: CachedToken | None
    generation: int
    deadline: float


@attrs.frozen(eq=False, repr=False)
class Restart:
    """The refresh has to start over, with *credentials* that were asked for already, if they were."""

    credentials: Credentials | None = None


class Superseded(enum.Enum):
    """The token was forgotten meanwhile, so what came of the refresh is of no use."""

    SUPERSEDED = enum.auto()


SUPERSEDED = Superseded.SUPERSEDED

Result: TypeAlias = CachedToken | Failure | Superseded
Step: TypeAlias = Result | Restart
