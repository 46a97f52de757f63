"""TaxizerClient: an `httpx.AsyncClient` that is set up for Taxizer, and nothing more than its set-up."""

from __future__ import annotations

import functools
import os

from typing import TYPE_CHECKING, Any, Final, Self, final

import attrs
import httpx

from taxizer_async._arguments import Arguments
from taxizer_async._auth import TaxizerAuth
from taxizer_async._errors import ConfigurationError
from taxizer_async._exchange import default_tls_context
from taxizer_async._models import DEFAULT_BASE_URL, Credentials


if TYPE_CHECKING:
    import ssl

    from collections.abc import Iterable

    from taxizer_async._clock import Clock
    from taxizer_async._credentials_source import CredentialsLike
    from taxizer_async._exchange import HttpClientFactory
    from taxizer_async._policy import RenewalPolicy
    from taxizer_async._reporter import EventHook
    from taxizer_async.stores import TokenStore


#: How to reach the network is the same question for a login as for any other request.
_SHARED_OPTIONS: Final = ("verify", "cert", "trust_env", "proxy")
#: These belong to the client that they are given to, and a login uses no connection of its pool.
_OWN_OPTIONS: Final = ("transport", "mounts")


class TaxizerClient(httpx.AsyncClient):
    """
    An `httpx.AsyncClient` that is pointed at Taxizer and logged in.

    `client.auth` is the `TaxizerAuth` behind it: `client.auth.keep_fresh`, `client.auth.status()`.

    Args:
        credentials: As for `TaxizerAuth`, like the next six.
        base_url: Where the API is; requests name paths below it.
        store: Where the token is shared.
        policy: All durations and limits.
        http_client: Returns the client for a login. By default one with this client's *verify*, *cert*,
            *trust_env* and *proxy*.
        on_event: Is called with each event.
        extra_origins: Origins beside that of *base_url* that the token may be sent to.
        clock: For tests.
        **httpx_options: All else that `httpx.AsyncClient` takes, but *auth*.

    Raises:
        ConfigurationError: If an argument is wrong, or it is not clear how a login is to be sent.
    """

    def __init__(
        self,
        credentials: CredentialsLike,
        *,
        base_url: str = DEFAULT_BASE_URL,
        store: TokenStore | None = None,
        policy: RenewalPolicy | None = None,
        http_client: HttpClientFactory | None = None,
        on_event: EventHook | None = None,
        extra_origins: Iterable[str] = (),
        clock: Clock | None = None,
        **httpx_options: Any,
    ) -> None:
        brings_auth = "auth" in httpx_options
        httpx_options.pop("auth", None)
        options = _Options(httpx_options)
        arguments = Arguments(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=_login_client(httpx_options) if http_client is None else http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # The frames of a traceback may be captured with their arguments.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        del httpx_options
        if brings_auth:
            msg = "a TaxizerClient brings its own auth: use httpx.AsyncClient with another"
            raise ConfigurationError(msg)
        given = [name for name in _OWN_OPTIONS if options.given.get(name) is not None]
        if given and arguments.http_client is None:
            msg = (
                f"with {given[0]}= it is not clear how a login is to be sent: give http_client=, a "
                "callable that returns a fresh httpx.AsyncClient"
            )
            raise ConfigurationError(msg)
        auth = TaxizerAuth.from_arguments(arguments)
        super().__init__(auth=auth, base_url=auth.base_url, **options.given)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Return a client for the credentials of the environment, read anew at each login.

        `TAXIZER_BASE_URL` overrides the documented host. *options* are the constructor's.

        Raises:
            ConfigurationError: If the environment is incomplete.
        """
        options.setdefault("base_url", os.environ.get("TAXIZER_BASE_URL") or DEFAULT_BASE_URL)
        wrapped = _Options(options)
        del options
        Credentials.from_env()
        return cls(Credentials.from_env, **wrapped.given)

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


@attrs.frozen(eq=False, repr=False)
class _Options:
    """Wraps options, so that no frame shows them: a proxy, a header or a base URL may hold a password."""

    given: dict[str, Any]


def _login_client(options: dict[str, Any]) -> HttpClientFactory | None:
    shared: dict[str, Any] = {name: options[name] for name in _SHARED_OPTIONS if name in options}
    own = any(options.get(name) is not None for name in _OWN_OPTIONS)
    return LoginClients(shared) if shared and not own else None


@final
class LoginClients:
    """Makes clients with *options* for logins; reads the CA bundle for the first one only."""

    def __init__(self, options: dict[str, Any]) -> None:
        tls = ("verify", "cert", "trust_env")
        self._tls = {name: options[name] for name in tls if name in options}
        self._options = {name: options[name] for name in options if name not in ("verify", "cert")}

    def __call__(self) -> httpx.AsyncClient:
        """Return a fresh client."""
        return httpx.AsyncClient(verify=self._context, **self._options)

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context(**self._tls) if self._tls else default_tls_context()
