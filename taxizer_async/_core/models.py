"""
The values users hold: secrets, credentials, tokens and the health status.

All are immutable, and none shows a secret in any text made of it. How they look on the wire or in a
store is not decided here (see `_codec`), nor is how long they may be used (see `_policy`).
"""

from __future__ import annotations

import enum
import os
import stat

from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn, Self, final

import attrs

from taxizer_async._core.errors import ConfigurationError


#: The only host that the API reference documents.
DEFAULT_BASE_URL: Final = "https://apistaging.taxizer.com"

_MASK: Final = "***"
#: Bytes; above any credential.
_MAX_FILE: Final = 65_536


@final
class UnreadySecretError(ConfigurationError):
    """
    A credential is empty, or its file can't be read.

    That is a mistake at the start of a program, but passes while the file is being replaced.
    """


@final
class Secret:
    """
    A string that shows itself to nobody but the caller of `reveal`.

    Not an attrs class, as `attrs.asdict` would take it apart. It refuses to be pickled.
    """

    __slots__ = ("_value",)

    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            kind = type(value).__name__
            del value
            msg = f"a Secret holds a str, not {kind}"
            raise ConfigurationError(msg)
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the string itself: keep it out of variables that outlive the statement."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = "a Secret is immutable"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = "a Secret is immutable"
        raise AttributeError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        msg = (
            "a Secret is never pickled, so neither is what holds one: give the other process a "
            "callable such as Credentials.from_env instead of the credentials"
        )
        raise TypeError(msg)

    def __reduce__(self) -> NoReturn:
        self.__getstate__()


@attrs.frozen(init=False, repr=False)
class Credentials:
    """
    The clientId and clientSecret pair that Connect wants (API reference, "Auth/Connect").

    Attributes:
        client_id: Identifier, generated once in the dashboard.
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
        # The frames of a traceback may be captured with their arguments.
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
        return f"Credentials(client_id={client_id!r}, client_secret=Secret({_MASK!r}))"

    @classmethod
    def from_env(cls) -> Self:
        """
        Read `TAXIZER_CLIENT_ID` and `TAXIZER_CLIENT_SECRET`, or the files that `…_FILE` variants name.

        A trailing newline is stripped. Pass the method itself (`Credentials.from_env`) as the
        *credentials* of a client to have the environment or a rotated file read anew at each login; then
        a file that is empty or can't be read, as it is being replaced, is a retryable `AuthError`.

        Raises:
            ConfigurationError: If a variable is missing, empty, set twice or names an unreadable file.
        """
        return cls(
            client_id=read_variable("TAXIZER_CLIENT_ID").reveal(),
            client_secret=read_variable("TAXIZER_CLIENT_SECRET"),
        )


def find_base_url() -> str:
    """Return `TAXIZER_BASE_URL`, or the documented host if it is unset or empty."""
    return os.environ.get("TAXIZER_BASE_URL") or DEFAULT_BASE_URL


def find_variable(name: str) -> Secret | None:
    """
    Read the environment variable *name*, or the file that its `_FILE` variant names; None without both.

    A trailing newline is stripped; a variable that is empty is none.

    Raises:
        ConfigurationError: If both are set, or the file can't be read.
    """
    file_variable = f"{name}_FILE"
    if os.environ.get(name) and os.environ.get(file_variable):
        msg = f"both {name} and {file_variable} are set: unset one of them"
        raise ConfigurationError(msg)
    if os.environ.get(name):
        return Secret(os.environ[name].rstrip("\r\n"))
    if os.environ.get(file_variable):
        return _read_file(file_variable, Path(os.environ[file_variable]))
    return None


def read_variable(name: str) -> Secret:
    """
    Read the variable *name*, or the file that its `_FILE` variant names (see `find_variable`).

    Raises:
        ConfigurationError: If neither is set, both are, or the file can't be read.
    """
    value = find_variable(name)
    if value is None:
        msg = f"{name} is not set (nor is {name}_FILE): set one of them"
        raise ConfigurationError(msg)
    return value


def _read_file(variable: str, path: Path) -> Secret:
    try:
        return Secret(_read_regular(path).decode("utf-8-sig").rstrip("\r\n"))
    except (OSError, ValueError) as cause:
        problem = str(cause) if type(cause) is ValueError else type(cause).__name__
    # The path is not quoted, nor kept in a frame: somebody may have put the secret itself there.
    del path
    msg = f"{variable} does not name a file that can be read ({problem}): check the path in it"
    raise UnreadySecretError(msg)


def _read_regular(path: Path) -> bytes:
    # A pipe without a writer would be waited for, a device read without end.
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            msg = "no regular file"
            raise ValueError(msg)
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        msg = f"more than {_MAX_FILE:,} bytes"
        raise ValueError(msg)
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@attrs.frozen(kw_only=True)
class Token:
    """
    What Connect and AppRefreshToken answer (API reference, "Auth/Connect").

    Attributes:
        app_id: `appId`; None where the server left it out, as for the next four.
        app_name: `appName`.
        account_id: `accountId`; not a UUID.
        account_name: `accountName`.
        username: `username`.
        jwt: `jwtToken`, the bearer token; opaque.
        expires_at: `jwtTokenExpireAtUTC`, aware, by the server's clock; None if unknown.
        refresh_token: `refreshToken`; None if there was none.
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
    """What can be said of the token that is held now."""

    NONE = "none"
    FRESH = "fresh"
    RENEWAL_DUE = "renewal_due"
    EXPIRED = "expired"
    REFUSED = "refused"


@attrs.frozen(kw_only=True)
class AuthStatus:
    """
    A snapshot for health endpoints; there is no secret in it.

    Attributes:
        state: What can be said of the token.
        usable: Whether a request sent now would carry a token that is believed to be good.
        expires_in: Seconds until the token ends; None if unknown.
        refreshable: Whether there is an unspent refresh token to renew it with.
        keep_fresh_running: Whether `keep_fresh()` runs in this process.
        last_error: Why the last login or renewal failed; None once one has succeeded.
        retry_at: Until when failures are served from memory (aware, UTC).
        logins: Connects of this auth object that succeeded.
        renewals: Refreshes of this auth object that succeeded.
        adoptions: Tokens taken over from the store.
        store_failing: Whether the token store failed when it was last used.
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
