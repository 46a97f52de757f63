"""
The same on httpx2, the maintained fork of httpx: `TaxizerAuth` and `TaxizerClient`.

Needs the extra: `pip install "taxizer-async[httpx2]"`. Logins go over httpx2, too. What is done is
`_flow`'s: here are but the two classes that httpx2 wants.
"""

from __future__ import annotations

import functools

from typing import TYPE_CHECKING, Any, Final, Self

from taxizer_async._auth.bearer import Bearer
from taxizer_async._auth.client_options import ClientOptions
from taxizer_async._auth.flow import AuthFlow, sync_refusal
from taxizer_async._auth.options import Arguments
from taxizer_async._auth.response_hooks import EventHooks
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_log import check_listener
from taxizer_async._core.models import DEFAULT_BASE_URL, Credentials, find_base_url
from taxizer_async._http.library import HttpLibrary


try:
    import httpx2
except ImportError as _missing:
    _msg = 'taxizer_async.httpx2 needs httpx2: pip install "taxizer-async[httpx2]"'
    raise ImportError(_msg) from _missing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.event_log import EventHook
    from taxizer_async._core.models import AuthStatus, Token
    from taxizer_async._core.policy import RenewalPolicy
    from taxizer_async._http.token_endpoints import HttpClientFactory
    from taxizer_async._token.credentials_source import CredentialsLike
    from taxizer_async.stores import TokenStore


__all__ = ["TaxizerAuth", "TaxizerClient"]

HTTPX2: Final = HttpLibrary(httpx2)


class TaxizerAuth(httpx2.Auth):
    """`taxizer_async.TaxizerAuth` for an `httpx2.AsyncClient`; *http_client* returns one of these, too."""

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
    ) -> None:
        arguments = Arguments(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # The frames of a traceback may be captured with their arguments.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        self._set_up(arguments)

    @classmethod
    def from_arguments(cls, arguments: Arguments) -> Self:
        """Build it without having its arguments in a frame; for `TaxizerClient`."""
        auth = cls.__new__(cls)
        auth._set_up(arguments)  # noqa: SLF001 - its own
        return auth

    def _set_up(self, arguments: Arguments) -> None:
        self.bearer: Bearer = Bearer(arguments, HTTPX2)

    @property
    def base_url(self) -> str:
        """Where the API is, in one spelling."""
        return self.bearer.base_url

    async def token(self) -> Token:
        """Return a usable token; log in or renew if it takes that."""
        return await self.bearer.token()

    async def refused(self, token: Token, place: str = "") -> Token | None:
        """Tell that the server refused *token*, and return the token to use next; None if it is final."""
        return await self.bearer.provider.refused(token, place)

    async def keep_fresh(self) -> None:
        """Renew though no request asks, until cancelled: for idle services, and to log in at the start."""
        await self.bearer.provider.keep_fresh()

    def status(self) -> AuthStatus:
        """Return what a health endpoint may show."""
        return self.bearer.provider.status()

    async def forget(self) -> None:
        """Drop the token here and in the store; the next request logs in."""
        await self.bearer.provider.forget()

    def add_listener(self, listener: EventHook) -> Callable[[], None]:
        """Have *listener* called with each event from now on, as *on_event* is; return what ends that."""
        wrong = check_listener(listener, "a listener")
        if wrong is not None:
            # The frames of a traceback may be captured with their arguments.
            del listener
            raise wrong
        return self.bearer.reporter.add_listener(listener)

    async def events_delivered(self) -> None:
        """Wait until all listeners have heard all that has happened so far; for tests, above all."""
        await self.bearer.reporter.delivered()

    def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Carry the token; on a 401 that is about it, renew it and send the request once more."""
        return AuthFlow(self.bearer, request)

    def sync_auth_flow(
        self,
        request: httpx2.Request,  # noqa: ARG002 - httpx2's signature
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Refuse to work."""
        raise sync_refusal(HTTPX2)

    def __repr__(self) -> str:
        """Show no secret."""
        if not hasattr(self, "bearer"):  # a traceback shows it before it is set up
            return f"<{type(self).__name__}>"
        return self.bearer.describe(type(self).__name__)

    def __reduce__(self) -> tuple[Callable[[], TaxizerAuth], tuple[()]]:
        """Pickle the arguments, never the token; credentials given by value refuse to be pickled."""
        return functools.partial(type(self), **self.bearer.arguments.given), ()


class TaxizerClient(httpx2.AsyncClient):
    """`taxizer_async.TaxizerClient`, being an `httpx2.AsyncClient`."""

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
        **httpx2_options: Any,
    ) -> None:
        options = ClientOptions(HTTPX2, httpx2_options)
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
        del httpx2_options
        options.check(told_how_to_log_in=arguments.http_client is not None)
        auth = TaxizerAuth.from_arguments(arguments)
        super().__init__(auth=auth, base_url=auth.base_url, **options.given)
        self.event_hooks = self._event_hooks

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Return a client for the credentials of the environment, read anew at each login."""
        options.setdefault("base_url", find_base_url())
        wrapped = ClientOptions(HTTPX2, options)
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
