"""TaxizerClient: an `httpx.AsyncClient` that is set up for Taxizer, and nothing more than its set-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

import httpx

from taxizer_async._auth.auth import HTTPX, TaxizerAuth
from taxizer_async._auth.base import make_auth
from taxizer_async._auth.options import ClientOptions
from taxizer_async._auth.response_hooks import EventHooks
from taxizer_async._core.environment import find_base_url
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.models import Credentials


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async._auth.options import ClientKwargs
    from taxizer_async._token.credentials_source import CredentialsLike


class TaxizerClient(httpx.AsyncClient):
    """
    An `httpx.AsyncClient` that is pointed at Taxizer and logged in.

    `client.auth` is the `TaxizerAuth` behind it: `client.auth.keep_fresh`, `client.auth.status()`.

    Args:
        credentials: As for `TaxizerAuth`.
        **options: All else that `TaxizerAuth` takes, and all that `httpx.AsyncClient` takes but *auth*.
            Requests name paths below *base_url*. By default *http_client* returns a client with this
            client's *verify*, *cert*, *trust_env* and *proxy*.

    Raises:
        ConfigurationError: If an argument is wrong, or it is not clear how a login is to be sent.
    """

    def __init__(self, credentials: CredentialsLike, **options: Unpack[ClientKwargs]) -> None:
        given = ClientOptions(HTTPX, credentials, options)
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
        given = ClientOptions(HTTPX, Credentials.from_env, options)
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
            msg = f"the auth of a TaxizerClient is a TaxizerAuth, not {type(auth).__name__}: use httpx.AsyncClient"
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
