"""
The values that users hold: credentials, tokens and the health status.

All are immutable, and none shows a secret in its text.
"""

from __future__ import annotations

import enum

from datetime import datetime
from typing import Self

import attrs

from taxizer_async._core.environment import read_variable
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import MASK, Secret, UnreadySecretError


@attrs.frozen(init=False, repr=False)
class Credentials:
    """
    The clientId and clientSecret pair that Connect wants (API reference, "Auth/Connect").

    Attributes:
        client_id: The identifier, generated once in the dashboard.
        client_secret: Its paired secret; a plain str is wrapped.

    Raises:
        ConfigurationError: If one is empty or not a string.
    """

    client_id: str
    client_secret: Secret

    def __init__(self, client_id: str, client_secret: Secret | str) -> None:
        kind = type(client_secret).__name__
        secret = Secret(client_secret) if isinstance(client_secret, str) else None
        if isinstance(client_secret, Secret):
            secret = client_secret
        # Not in a frame that raises: see `_core.secret`.
        del client_secret
        if not isinstance(client_id, str):
            msg = f"client_id must be a str, not {type(client_id).__name__}"
            raise ConfigurationError(msg)
        if secret is None:
            msg = f"client_secret must be a str or a Secret, not {kind}"
            raise ConfigurationError(msg)
        for name, blank in (
            ("client_id", not client_id.strip()),
            ("client_secret", not secret.reveal().strip()),
        ):
            if blank:
                msg = f"{name} is empty: copy it from the Taxizer dashboard"
                raise UnreadySecretError(msg)
        object.__setattr__(self, "client_id", client_id)
        object.__setattr__(self, "client_secret", secret)

    def __repr__(self) -> str:
        # A traceback may show it before it has a value.
        client_id = getattr(self, "client_id", None)
        return f"Credentials(client_id={client_id!r}, client_secret=Secret({MASK!r}))"

    @classmethod
    def from_env(cls) -> Self:
        """
        Read `TAXIZER_CLIENT_ID` and `TAXIZER_CLIENT_SECRET`, or the files that their `_FILE` variants name.

        A trailing newline is stripped. Pass the method itself (`Credentials.from_env`) as the
        *credentials* of a client to read the environment or a rotated file anew at each login; then a file
        that is empty or can't be read, as it is being replaced, is a retryable `AuthError`.

        Raises:
            ConfigurationError: If a variable is missing, empty, set twice or names an unreadable file.
        """
        return cls(
            client_id=read_variable("TAXIZER_CLIENT_ID").reveal(),
            client_secret=read_variable("TAXIZER_CLIENT_SECRET"),
        )


@attrs.frozen(kw_only=True)
class Token:
    """
    The response of Connect and AppRefreshToken (API reference, "Auth/Connect").

    Attributes:
        app_id: `appId`; None if the server left it out, as for the next four.
        app_name: `appName`.
        account_id: `accountId`; not a UUID.
        account_name: `accountName`.
        username: `username`.
        jwt: `jwtToken`, the bearer token; opaque.
        expires_at: `jwtTokenExpireAtUTC`, aware, by the server's clock; None if unknown.
        refresh_token: `refreshToken`, if there was one.
        refresh_expires_at: `refreshTokenExpireAtUTC`, likewise.
    """

    app_id: str | None = None
    app_name: str | None = None
    account_id: str | None = None
    account_name: str | None = None
    username: str | None = None
    jwt: Secret
    expires_at: datetime | None = None
    refresh_token: Secret | None = None
    refresh_expires_at: datetime | None = None


class TokenState(enum.StrEnum):
    """How good the cached token is."""

    NONE = "none"
    FRESH = "fresh"
    RENEWAL_DUE = "renewal_due"
    EXPIRED = "expired"
    REFUSED = "refused"


@attrs.frozen(kw_only=True)
class AuthStatus:
    """
    A snapshot for health endpoints, without secrets.

    Attributes:
        state: How good the token is.
        usable: Whether a request sent now would carry a token that is believed to work.
        expires_in: Seconds until the token expires; None if unknown.
        refreshable: Whether there is an unspent refresh token to renew it with.
        keep_fresh_running: Whether `keep_fresh()` runs in this process.
        last_error: Why the last login or renewal failed; None once one has succeeded.
        retry_at: When the next attempt is made (aware, UTC); until then calls fail from memory.
        logins: Successful Connects of this auth object.
        renewals: Successful refreshes of this auth object.
        adoptions: Tokens that it took over from the store.
        store_failing: Whether the last use of the token store failed.
    """

    state: TokenState
    usable: bool
    expires_in: float | None
    refreshable: bool
    keep_fresh_running: bool
    last_error: str | None
    retry_at: datetime | None
    logins: int
    renewals: int
    adoptions: int
    store_failing: bool
