"""TaxizerClient: an `httpx.AsyncClient` that is set up for Taxizer, and nothing more than its set-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx

from taxizer_async._auth.auth import HTTPX, TaxizerAuth
from taxizer_async._auth.client_options import ClientOptions
from taxizer_async._auth.options import Arguments
from taxizer_async._auth.response_hooks import EventHooks
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.models import DEFAULT_BASE_URL, Credentials, find_base_url


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.event_log import EventHook
    from taxizer_async._core.policy import RenewalPolicy
    from taxizer_async._http.token_endpoints import HttpClientFactory
    from taxizer_async._token.credentials_source import CredentialsLike
    from taxizer_async.stores import TokenStore


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
        options = ClientOptions(HTTPX, httpx_options)
        arguments = Arguments(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=options.login_client() if http_client is None else http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # The frames of a traceback may be captured with their arguments.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        del httpx_options
        options.check(told_how_to_log_in=arguments.http_client is not None)
        auth = TaxizerAuth.from_arguments(arguments)
        super().__init__(auth=auth, base_url=auth.base_url, **options.given)
        self.event_hooks = self._event_hooks

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Return a client for the credentials of the environment, read anew at each login.

        `TAXIZER_BASE_URL` overrides the documented host. *options* are the constructor's.

        Raises:
            ConfigurationError: If the environment is incomplete.
        """
        options.setdefault("base_url", find_base_url())
        wrapped = ClientOptions(HTTPX, options)
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
