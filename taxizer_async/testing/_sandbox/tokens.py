"""The tokens of a sandbox: how they are issued, checked, spent and revoked, and how their expiry is written."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
import time

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal, Protocol, final, get_args

import attrs


APP_ID: Final = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

#: Seconds that a JWT stays good if its stated expiry says nothing about its life.
_ODD_LIFETIME: Final = 3600.0

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


#: How a server may write a time.
TimestampStyle = Literal[
    "iso-z-ms",
    "iso-z-us",
    "dotnet-7",
    "naive-7",
    "naive-s",
    "offset",
    "space",
    "lower-z",
    "unset",
    "null",
    "missing",
]

TIMESTAMP_STYLES: Final[tuple[str, ...]] = get_args(TimestampStyle)

#: Styles that do not tell when a token expires.
TIMELESS_STYLES: Final = frozenset({"unset", "null", "missing"})

#: How ASP.NET writes a date that was never set.
_UNSET: Final = "0001-01-01T00:00:00"

#: 9999-12-30T00:00:00Z, so that no offset can leave the calendar.
_LAST: Final = 253_402_128_000

_PLUS_TWO: Final = timezone(timedelta(hours=2))

#: For each style the separator, the digits of the fraction, and the zone.
_SHAPES: Final[dict[str, tuple[str, int, str]]] = {
    "iso-z-ms": ("T", 3, "Z"),
    "iso-z-us": ("T", 6, "Z"),
    "dotnet-7": ("T", 7, "Z"),
    "naive-7": ("T", 7, ""),
    "naive-s": ("T", 0, ""),
    "offset": ("T", 3, "+02:00"),
    "space": (" ", 3, "Z"),
    "lower-z": ("T", 3, "z"),
}


class Settings(Protocol):
    """Settings that may change while the sandbox runs; see `Sandbox`."""

    lifetime: float
    refresh_lifetime: float
    connect_latency: float
    refresh_latency: float
    resource_latency: float
    clock_offset: float
    timestamp_style: TimestampStyle
    rotate: bool
    reuse_detection: bool
    send_date: bool
    refusal_status: int

    def accepts(self, client_id: str, client_secret: str) -> bool: ...


@final
@attrs.define(eq=False)
class _Issued:
    number: int
    client_id: str
    good_until: float
    issued_at: float = attrs.field(factory=time.monotonic)
    spent: bool = False


@final
@attrs.frozen(kw_only=True)
class TokenLife:
    """The newest JWT: its number, when it was issued and ends (Unix seconds), and whether it is good now."""

    number: int
    issued_at: float
    ends_at: float
    good: bool


@final
class TokenIssuer:
    """
    Issues tokens, and knows which of them are good; calls *on_reuse* when a spent refresh token comes back.

    Tokens are numbered from 1 as they are issued; revoking raises the lowest number that is good.
    """

    def __init__(
        self,
        settings: Settings,
        lock: threading.RLock,
        on_reuse: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._on_reuse = on_reuse
        self._key = secrets.token_bytes(32)
        #: What makes Unix seconds of `time.monotonic`.
        self._epoch = time.time() - time.monotonic()
        self._newest: _Issued | None = None
        self._jwts: dict[str, _Issued] = {}
        self._refresh_tokens: dict[str, _Issued] = {}
        self._first_jwt = 1
        self._first_refresh_token = 1

    def connect(self, client_id: str) -> dict[str, object]:
        """Issue a pair of tokens for *client_id*; return the nine documented fields."""
        with self._lock:
            return self._fields(self._issue_jwt(client_id), *self._issue_refresh_token(client_id))

    def refresh(self, token: str) -> dict[str, object] | None:
        """Spend the refresh *token* on a new pair; return None if it is refused."""
        with self._lock:
            issued = self._refresh_tokens.get(token)
            if issued is None:
                return None
            if issued.spent:
                self._on_reuse()
                if self._settings.reuse_detection:
                    self.revoke_jwts()
                    self.revoke_refresh_tokens()
                return None
            if issued.number < self._first_refresh_token or time.monotonic() >= issued.good_until:
                return None
            if not self._settings.rotate:
                left = issued.good_until - time.monotonic()
                return self._fields(self._issue_jwt(issued.client_id), token, left)
            issued.spent = True
            return self._fields(
                self._issue_jwt(issued.client_id), *self._issue_refresh_token(issued.client_id)
            )

    def jwt_number(self, jwt: str | None) -> int | None:
        """Return the number of *jwt*, good or not; None if it was not issued here."""
        with self._lock:
            issued = self._jwts.get(jwt or "")
        return None if issued is None else issued.number

    def client_of(self, jwt: str | None) -> str:
        """Return the clientId that *jwt*, which was issued here, is for."""
        with self._lock:
            return self._jwts[jwt or ""].client_id

    def is_good(self, jwt: str | None) -> bool:
        """Return whether *jwt* was issued here, and is neither revoked nor expired."""
        with self._lock:
            issued = self._jwts.get(jwt or "")
            return issued is not None and self._lives(issued)

    def newest(self) -> TokenLife | None:
        with self._lock:
            issued = self._newest
            if issued is None:
                return None
            return TokenLife(
                number=issued.number,
                issued_at=round(self._epoch + issued.issued_at, 3),
                ends_at=round(self._epoch + issued.good_until, 3),
                good=self._lives(issued),
            )

    def expire_jwts(self, seconds: float) -> None:
        with self._lock:
            end = time.monotonic() + seconds
            for issued in self._jwts.values():
                issued.good_until = min(issued.good_until, end)

    def revoke_jwts(self) -> None:
        with self._lock:
            self._first_jwt = len(self._jwts) + 1

    def revoke_refresh_tokens(self) -> None:
        with self._lock:
            self._first_refresh_token = len(self._refresh_tokens) + 1

    @property
    def issued_jwts(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._jwts)

    @property
    def issued_refresh_tokens(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._refresh_tokens)

    def _lives(self, jwt: _Issued) -> bool:
        return jwt.number >= self._first_jwt and time.monotonic() < jwt.good_until

    def _issue_jwt(self, client_id: str) -> str:
        settings = self._settings
        odd = settings.lifetime <= 0 or settings.timestamp_style in TIMELESS_STYLES
        life = _ODD_LIFETIME if odd else settings.lifetime
        issued_at = int(time.time() + settings.clock_offset)
        claims = {
            "sub": APP_ID,
            "client_id": client_id,
            "jti": secrets.token_hex(16),
            "iat": issued_at,
            "exp": issued_at + int(settings.lifetime),
        }
        head = f"{_part(_HEADER)}.{_part(claims)}"
        signature = hmac.digest(self._key, head.encode(), "sha256")
        jwt = f"{head}.{_base64url(signature)}"
        self._newest = _Issued(len(self._jwts) + 1, client_id, time.monotonic() + life)
        self._jwts[jwt] = self._newest
        return jwt

    def _issue_refresh_token(self, client_id: str) -> tuple[str, float]:
        token = secrets.token_urlsafe(48)
        life = self._settings.refresh_lifetime
        number = len(self._refresh_tokens) + 1
        self._refresh_tokens[token] = _Issued(number, client_id, time.monotonic() + life)
        return token, life

    def _fields(self, jwt: str, refresh_token: str, refresh_life: float) -> dict[str, object]:
        settings = self._settings
        style = settings.timestamp_style
        now = time.time() + settings.clock_offset
        fields: dict[str, object] = {
            "appId": APP_ID,
            "appName": "SandboxApp",
            "accountId": "acc12345",
            "accountName": "SandboxAccount",
            "username": "sandbox-user",
            "jwtToken": jwt,
            "jwtTokenExpireAtUTC": timestamp(now + settings.lifetime, style),
            "refreshToken": refresh_token,
            "refreshTokenExpireAtUTC": timestamp(now + refresh_life, style),
        }
        if style == "missing":
            del fields["jwtTokenExpireAtUTC"], fields["refreshTokenExpireAtUTC"]
        return fields


def timestamp(wall: float, style: TimestampStyle) -> str | None:
    """Return *wall* (Unix seconds) in *style*; None for "null" and "missing"."""
    if style in TIMELESS_STYLES:
        return _UNSET if style == "unset" else None
    separator, digits, zone = _SHAPES[style]
    seconds, fraction = divmod(round(min(max(wall, 0.0), _LAST) * 10**7), 10**7)
    moment = datetime.fromtimestamp(seconds, _PLUS_TWO if style == "offset" else UTC)
    tail = f".{fraction:07d}"[: digits + 1] if digits else ""
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S") + tail + zone


def _part(claims: object) -> str:
    return _base64url(json.dumps(claims, separators=(",", ":")).encode())


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
