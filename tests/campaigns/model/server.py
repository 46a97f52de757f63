"""A model of the documented server: lifetimes, rotation, reuse detection, and faults."""

from __future__ import annotations

import enum
import math

from typing import TYPE_CHECKING

import attrs

from taxizer_async import Secret, Token
from taxizer_async._core.exchange import (
    Issued,
    Malformed,
    Misconfigured,
    Outcome,
    Refused,
    Unavailable,
)


if TYPE_CHECKING:
    import random

    from taxizer_async.testing import ManualClock


BASE_URL = "https://api.test"
CLIENT_ID = "the-app"
#: Part of every secret.
CANARY = "CANARY"
#: The lifetime that the answer states, and how long the server accepts the token.
LIVES: list[tuple[float | None, float]] = [
    (900.0, 900.0),
    (86_400.0, 86_400.0),
    (60.0, 60.0),
    (10.0, 10.0),
    (1.0, 1.0),
    (0.3, 0.3),
    (0.0, 600.0),
    (-5.0, 600.0),
    (-math.inf, 600.0),
    (None, 300.0),
    (None, 40.0),
    (900.0, 20.0),
    (900.0, 0.0),
]


@attrs.define(eq=False)
class Place:
    """A place that requests are sent to."""

    method: str
    path: str
    #: Whether it refuses every token, and how often requests go there.
    lacks_right: bool
    weight: float

    @property
    def name(self) -> str:
        """The name that a client gives it."""
        return f"{self.method} {BASE_URL}{self.path}"


class Mood(enum.Enum):
    """What a token endpoint does."""

    FINE = "answers"
    UNTOUCHED = "is not reached"
    BUSY = "says 429 with Retry-After"
    OVERLOADED = "says 503 with Retry-After"
    LOST = "breaks the connection before it looks"
    EATEN = "breaks the connection after it has done it"
    REFUSING = "refuses all"
    JUNK = "answers junk"
    UNSENDABLE = "can't be asked"
    HANGING = "hangs"


@attrs.define(eq=False, kw_only=True)
class Grant:
    """A token that was issued."""

    jwt: str
    refresh: str | None
    told: float | None
    requested_at: float
    dies_at: float
    with_lease: bool
    revoked: bool = False
    #: Whether it had expired by its own statement on arrival, so that it is used until refused.
    late: bool = False

    @property
    def believed(self) -> float:
        """How long a client takes it to last."""
        told = 300.0 if self.told is None else self.told
        return told if told >= 0.5 and not self.late else math.inf


class Server:
    """Issues, rotates, revokes, and answers."""

    def __init__(self, clock: ManualClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self.secret = f"{CANARY}-secret-0"
        self.life: tuple[float | None, float] = LIVES[0]
        self.refresh_life: float | None = None
        self.moods = {"connect": Mood.FINE, "refresh": Mood.FINE}
        self.places = [
            Place("POST", "/v1/Devices/Register", lacks_right=False, weight=4.0),
            Place("GET", "/v1/Devices/Register", lacks_right=False, weight=2.0),
            Place(
                "POST", "/v1/Invoices", lacks_right=True, weight=rng.choice([0.0, 0.5, 2.0, 8.0])
            ),
            Place(
                "GET", "/v1/Invoices", lacks_right=False, weight=rng.choice([0.0, 0.5, 2.0, 8.0])
            ),
        ]
        self.grants: dict[str, Grant] = {}
        self.live_refresh: set[str] = set()
        self.used_refresh: set[str] = set()
        self.reuses = 0
        self._numbers = 0

    def accepts(self, jwt: str, where: Place) -> bool:
        """Return whether *where* accepts *jwt*."""
        grant = self.grants.get(jwt) if not where.lacks_right else None
        return grant is not None and not grant.revoked and self._clock.monotonic() < grant.dies_at

    def revoke_tokens(self) -> None:
        """Revoke all JWTs."""
        for grant in self.grants.values():
            grant.revoked = True

    def heal(self) -> None:
        """End all faults; only the place that refuses from the start still does."""
        self.places[-1].lacks_right = False
        self.moods = {"connect": Mood.FINE, "refresh": Mood.FINE}
        self.life, self.refresh_life = LIVES[0], None

    def process(self, kind: str, secret: str, *, asked: tuple[float, bool]) -> Grant | None:
        """Do what is asked; return the token issued, or None if it is refused."""
        if kind == "connect":
            return self._issue(asked) if secret == self.secret else None
        if secret in self.used_refresh:
            self.reuses += 1
            return None
        if secret not in self.live_refresh:
            return None
        self.live_refresh.discard(secret)
        self.used_refresh.add(secret)
        return self._issue(asked)

    def failure(self, mood: Mood) -> Outcome:
        """Return the outcome that a client gets from an endpoint in *mood*."""
        match mood:
            case Mood.UNTOUCHED:
                return Unavailable(reason="could not connect", not_processed=True)
            case Mood.BUSY | Mood.OVERLOADED:
                status = 429 if mood is Mood.BUSY else 503
                return Unavailable(
                    reason=f"answered {status}",
                    status_code=status,
                    retry_after=self._rng.choice([0.0, 3.0, 100.0]),
                    not_processed=mood is Mood.BUSY,
                )
            case Mood.REFUSING:
                return Refused(status_code=self._rng.choice([400, 401, 403]))
            case Mood.JUNK:
                return Malformed(status_code=self._rng.choice([200, 302, 404]), excerpt="a page")
            case Mood.UNSENDABLE:
                return Misconfigured(reason="http_client returned NoneType")
            case _:
                return Unavailable(reason="the connection broke")

    def _issue(self, asked: tuple[float, bool]) -> Grant:
        self._numbers += 1
        refresh = f"{CANARY}-refresh-{self._numbers}" if self._rng.random() < 0.95 else None
        told, real = self.life
        grant = Grant(
            jwt=f"{CANARY}-jwt-{self._numbers}",
            refresh=refresh,
            told=told,
            requested_at=asked[0],
            dies_at=self._clock.monotonic() + real,
            with_lease=asked[1],
        )
        self.grants[grant.jwt] = grant
        if refresh is not None:
            self.live_refresh.add(refresh)
        return grant

    def arrive(self, grant: Grant) -> None:
        """Note that a client has received *grant*."""
        grant.late = self._clock.monotonic() - grant.requested_at >= grant.believed

    def issued(self, grant: Grant, *, began: float) -> Issued:
        """Return the answer that brings *grant* to an exchange that began at *began*."""
        return Issued(
            token=Token(
                jwt=Secret(grant.jwt),
                refresh_token=None if grant.refresh is None else Secret(grant.refresh),
            ),
            lifetime=grant.told,
            refresh_lifetime=self.refresh_life,
            requested_at=grant.requested_at,
            elapsed=self._clock.monotonic() - began,
        )
