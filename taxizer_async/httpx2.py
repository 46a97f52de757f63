"""
The same on httpx2, the maintained fork of httpx: `TaxizerAuth` and `TaxizerClient`.

Needs the extra: `pip install "taxizer-async[httpx2]"`. Logins go over httpx2, too. This module only
defines the two classes; what they do is in `_auth`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from taxizer_async._auth.base import AuthBase, make_auth
from taxizer_async._auth.flow import AuthFlow
from taxizer_async._auth.options import ClientOptions
from taxizer_async._auth.response_hooks import EventHooks
from taxizer_async._core.environment import find_base_url
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.models import Credentials
from taxizer_async._http.library import HttpLibrary


try:
    import httpx2
except ImportError as _missing:
    _msg = 'taxizer_async.httpx2 needs httpx2: pip install "taxizer-async[httpx2]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taxizer_async._auth.options import ClientKwargs
    from taxizer_async._token.credentials_source import CredentialsLike


__all__ = ["TaxizerAuth", "TaxizerClient"]

HTTPX2: Final = HttpLibrary(httpx2)


class TaxizerAuth(AuthBase, httpx2.Auth):
    """`taxizer_async.TaxizerAuth` for an `httpx2.AsyncClient`; *http_client* returns one of these, too."""

    _library = HTTPX2

    def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Carry the token; on a 401 that is about it, renew it and send the request once more."""
        return AuthFlow(self._bearer, request)


class TaxizerClient(httpx2.AsyncClient):
    """`taxizer_async.TaxizerClient`, being an `httpx2.AsyncClient`."""

    def __init__(self, credentials: CredentialsLike, **options: Unpack[ClientKwargs]) -> None:
        given = ClientOptions(HTTPX2, credentials, options)
        # Not in a frame that raises: see `_core.secret`.
        del credentials, options
        auth = make_auth(TaxizerAuth, given.auth_options())
        super().__init__(auth=auth, base_url=auth.base_url, **given.library_kwargs)
        self.event_hooks = self._event_hooks

    @classmethod
    def from_env(cls, **options: Unpack[ClientKwargs]) -> Self:
        """
        Return a client for the credentials of the environment, read anew at each login.

        `TAXIZER_BASE_URL` overrides the documented host. *options* are the constructor's.

        Raises:
            ConfigurationError: If the environment is incomplete.
        """
        options.setdefault("base_url", find_base_url())
        given = ClientOptions(HTTPX2, Credentials.from_env, options)
        del options
        Credentials.from_env()
        return cls(Credentials.from_env, **given.kwargs())

    @property
    def auth(self) -> TaxizerAuth:
        """The `TaxizerAuth` that this client uses; it can't be replaced by another kind of auth."""
        assert isinstance(self._auth, TaxizerAuth)  # noqa: S101 - see the setter
        return self._auth

    @auth.setter
    def auth(self, auth: object) -> None:
        if not isinstance(auth, TaxizerAuth):
            msg = f"the auth of a TaxizerClient is a TaxizerAuth, not {type(auth).__name__}: use httpx2.AsyncClient"
            raise ConfigurationError(msg)
        self._auth = auth

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """
        The user's hooks.

        One that raises on a 401, as `raise_for_status` does, raises only if the 401 is handed back.
        """
        return self._hooks

    @event_hooks.setter
    def event_hooks(self, event_hooks: dict[str, list[Callable[..., Any]]]) -> None:
        self._hooks = {kind: list(event_hooks.get(kind, ())) for kind in ("request", "response")}
        self._event_hooks = EventHooks(self._hooks)
