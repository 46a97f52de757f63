"""What `TaxizerAuth` and `TaxizerClient` are on httpx and httpx2 alike; subclasses name the HTTP library."""

from __future__ import annotations

import contextlib
import functools

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack, final

import anyio

from taxizer_async._auth.bearer import UNAUTHORIZED, Bearer
from taxizer_async._auth.flow import HEADER, HELD_BACK, MARK
from taxizer_async._auth.options import AuthOptions, ClientKwargs, ClientOptions, client_names
from taxizer_async._core.clock import Clock
from taxizer_async._core.environment import DEFAULT_BASE_URL, find_base_url
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_log import EventHook
from taxizer_async._core.event_loops import EventLoop, running_loop
from taxizer_async._core.models import AuthStatus, Credentials, Token
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.library import HttpClientFactory, HttpLibrary
from taxizer_async._token.credentials_source import CredentialsLike
from taxizer_async.stores import TokenStore


if TYPE_CHECKING:
    from taxizer_async._auth.sync_face import SyncFace


AuthT = TypeVar("AuthT", bound="AuthBase")


class AuthBase:
    """`TaxizerAuth` on the library that a subclass names."""

    _library: ClassVar[HttpLibrary]
    _bearer: Bearer

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
        options = AuthOptions(
            credentials,
            base_url=base_url,
            store=store,
            policy=policy,
            http_client=http_client,
            on_event=on_event,
            extra_origins=extra_origins,
            clock=clock,
        )
        # Not in a frame that raises: see `_core.secret`.
        del credentials, base_url, store, policy, http_client, on_event, extra_origins, clock
        self._set_up(options)

    def _set_up(self, options: AuthOptions) -> None:
        self._bearer = Bearer(options, self._library)

    @property
    def base_url(self) -> str:
        """Where the API is, normalized."""
        return self._bearer.base_url

    async def token(self) -> Token:
        """
        Return a usable token; log in or renew if necessary.

        Raises:
            AuthError: If there is none; see its subclasses.
            ConfigurationError: If the credentials callable or *http_client* is at fault.
        """
        bearer = self._bearer
        return (bearer.cache.fresh() or await bearer.provider.acquire()).token

    async def refused(self, token: Token, place: str = "") -> Token | None:
        """
        Report that the server refused *token*, and return the token to use next.

        For tokens that you send yourself: over a WebSocket, gRPC or another HTTP library. All callers that
        report the same token share one renewal. If it fails, that is logged, and nothing is raised here.

        Args:
            token: As `token()` returned it.
            place: Where it was refused, such as `"GET https://host/path"`. A place that refuses tokens which
                others accept causes no more renewals. Without a place the token counts as revoked.

        Returns:
            None if the refusal is final for now: another token would not help, or there is none.

        Raises:
            ConfigurationError: If *token* is no `Token`.
        """
        _check_token(token)
        return await self._bearer.provider.refused(token, place)

    async def keep_fresh(self) -> None:
        """
        Keep the token fresh though no request asks for it, until cancelled: for idle services, and to log in
        at the start.

        Run it in a task: `task_group.start_soon(auth.keep_fresh)`. After a failure it tries again; it
        raises none.
        """
        await self._bearer.provider.keep_fresh()

    def status(self) -> AuthStatus:
        """Return what a health endpoint may show."""
        return self._bearer.provider.status()

    async def forget(self) -> None:
        """
        Drop the token here and in the store; the next request logs in.

        Raises:
            TokenStoreError: If the store could not drop it; this process has dropped it.
            AuthError: If a credentials callable failed, so that the account is unknown.
        """
        await self._bearer.provider.forget()

    def add_listener(self, listener: EventHook) -> Callable[[], None]:
        """
        Call *listener* with each event from now on, as *on_event* is; return a function that ends that.

        Any thread may add listeners, any number of them. On each event loop a listener has a separate task,
        and hears the events of that loop in order: no request waits for it, and one that fails or hangs does
        not affect the others. When the loop ends, it gets 1 s to hear the rest. Where no event loop runs, a
        sync listener is called at once, and an async one in a short-lived thread.

        Args:
            listener: Sync and quick, or async. An async one may take `RenewalPolicy.hook_timeout` for an
                event.

        Raises:
            ConfigurationError: If it is not callable.
        """
        if callable(listener):
            return self._bearer.event_log.add_listener(listener)
        msg = f"a listener must be a callable, not {type(listener).__name__}"
        # Not in a frame that raises: see `_core.secret`.
        del listener
        raise ConfigurationError(msg)

    async def events_delivered(self) -> None:
        """
        Wait until the listeners have heard all events so far, also those of other running event loops.

        Made for tests.

        Raises:
            RuntimeError: If a listener calls this, as it would wait for itself.
        """
        await self._bearer.event_log.delivered()

    def sync_token(self) -> Token:
        """Return a usable token, as `token` does, to a program without an event loop."""
        return self._sync.token()

    def sync_refused(self, token: Token, place: str = "") -> Token | None:
        """Report that the server refused *token*, as `refused` does, and return the one to use next."""
        _check_token(token)
        return self._sync.refused(token, place)

    def sync_forget(self) -> None:
        """Drop the token, as `forget` does."""
        self._sync.forget()

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Do for a sync client what `async_auth_flow` does."""
        bearer = self._bearer
        url = request.url
        cached, now = bearer.cache.state.cached, bearer.now()
        if (
            cached is None
            or now >= cached.fresh_until
            or url.raw_host != bearer.host
            or url.port != bearer.port
            or url.scheme != bearer.scheme
            or request.extensions.setdefault(MARK, cached.mark) is not cached.mark
        ):
            yield from self._sync.flow(request)
            return
        # What follows is all that most requests need; a generator costs them less than an object.
        request.headers[HEADER] = cached.authorization
        try:
            response = yield request
        except GeneratorExit:
            self._sync.closed(request, cached, now)
            raise
        if response.status_code == UNAUTHORIZED or bearer.cache.state.listens:
            yield from self._sync.answered(request, cached, now, response)

    @functools.cached_property
    def _sync(self) -> SyncFace:
        # Imported here, as an async program needs none of it.
        from taxizer_async._auth.sync_face import SyncFace  # noqa: PLC0415

        return SyncFace(self._bearer)

    def __repr__(self) -> str:
        kind = type(self).__name__
        if not hasattr(self, "_bearer"):  # a traceback shows it before it is set up
            return f"<{kind}>"
        return f"<{kind} for {self.base_url}, token: {self.status().state.value}>"

    def __reduce__(self) -> tuple[Callable[[], AuthBase], tuple[()]]:
        """Pickle the arguments, never the token; credentials given by value refuse to be pickled."""
        return functools.partial(type(self), **self._bearer.options.as_kwargs), ()


class ClientBase(Generic[AuthT]):
    """`TaxizerClient` on the library that a subclass names."""

    _library: ClassVar[HttpLibrary]
    #: Whether the library's class is `Client`, rather than `AsyncClient`.
    _is_sync: ClassVar = False
    _auth_class: type[AuthT]
    # The library sets these two, with types of its own.
    _auth: Any
    _event_hooks: Any

    def __init__(self, credentials: CredentialsLike, **options: Unpack[ClientKwargs]) -> None:
        given = ClientOptions(self._library, credentials, options, is_sync=self._is_sync)
        # Not in a frame that raises: see `_core.secret`.
        del credentials, options
        auth = self._auth_class.__new__(self._auth_class)
        auth._set_up(given.auth_options())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
        # Of the library's client.
        init: Any = super().__init__
        init(auth=auth, base_url=auth.base_url, **given.library_options)
        self.event_hooks = self._event_hooks

    @classmethod
    def from_env(cls, **options: Unpack[ClientKwargs]) -> Self:
        """
        Return a client with the credentials of the environment, which each login reads anew.

        `TAXIZER_BASE_URL` overrides the documented host. *options* are the constructor's.

        Raises:
            ConfigurationError: If the environment is incomplete.
        """
        options.setdefault("base_url", find_base_url())
        given = ClientOptions(cls._library, Credentials.from_env, options, is_sync=cls._is_sync)
        del options
        Credentials.from_env()
        return cls(Credentials.from_env, **given.options)

    @property
    def auth(self) -> AuthT:
        """The `TaxizerAuth` that this client uses; it can't be replaced by another kind of auth."""
        auth: AuthT = self._auth
        return auth

    @auth.setter
    def auth(self, auth: object) -> None:
        if not isinstance(auth, self._auth_class):
            ours, theirs = client_names(self._library, is_sync=self._is_sync)
            msg = f"the auth of a {ours} is a TaxizerAuth, not {type(auth).__name__}: use {theirs}"
            raise ConfigurationError(msg)
        self._auth = auth

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """
        The user's hooks.

        What one raises on a 401, as `raise_for_status` does, is raised only if the 401 is handed back.
        """
        return self._hooks

    @event_hooks.setter
    def event_hooks(self, event_hooks: dict[str, list[Callable[..., Any]]]) -> None:
        self._hooks = {kind: list(event_hooks.get(kind, ())) for kind in ("request", "response")}
        ours, _ = client_names(self._library, is_sync=self._is_sync)
        self._event_hooks = _EventHooks(self._hooks, None if self._is_sync else _OneLoop(ours))


@final
class _EventHooks(dict[str, list[Any]]):
    """
    What the library runs in place of the user's *hooks*, which may change at any time.

    If a response hook raises on a 401 to our token, the exception is held back until the auth has seen the
    401: the auth would not learn of it otherwise.
    """

    def __init__(self, hooks: dict[str, list[Any]], one_loop: _OneLoop | None) -> None:
        self._hooks = hooks
        self._one_loop = one_loop
        self._call = self._run_sync if one_loop is None else self._run

    def __missing__(self, kind: str) -> list[Any]:
        if kind == "request" and self._one_loop is not None:
            # The library asks for these before each request, which nothing of ours is closer to.
            self._one_loop.check()
        hooks = self._hooks[kind]
        return [self._call] if hooks and kind == "response" else hooks

    async def _run(self, response: Any) -> None:
        with _holding_back(response):
            for hook in self._hooks["response"]:
                await hook(response)

    def _run_sync(self, response: Any) -> None:
        with _holding_back(response):
            for hook in self._hooks["response"]:
                hook(response)


@final
class _OneLoop:
    """The event loop that an async client, of the class *name*, was first used in: its connections are there."""

    __slots__ = ("_home", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._home: EventLoop | None = None

    def check(self) -> None:
        """
        Check that the running event loop is that one.

        Raises:
            ConfigurationError: If it is another.
        """
        try:
            native = running_loop()
        except anyio.NoEventLoopError:
            return
        if self._home is None:
            self._home = EventLoop(native)
        elif not self._home.is_same(native):
            msg = (
                f"this {self._name} was used in another event loop, and its connections are there: make a "
                "client in each event loop; they may share the auth, as in AsyncClient(auth=client.auth, "
                "base_url=client.base_url)"
            )
            raise ConfigurationError(msg)


@contextlib.contextmanager
def _holding_back(response: Any) -> Generator[None]:
    try:
        yield
    except Exception as error:
        is_ours = MARK in response.request.extensions
        if response.status_code != UNAUTHORIZED or not is_ours:
            raise
        response.extensions[HELD_BACK] = error


def bearer_of(auth: object) -> Bearer:
    """
    Return the `Bearer` of *auth*, for adapters.

    Raises:
        ConfigurationError: If it is no `TaxizerAuth`.
    """
    if not isinstance(auth, AuthBase):
        msg = f"auth must be a TaxizerAuth, not {type(auth).__name__}"
        raise ConfigurationError(msg)
    return auth._bearer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module


def _check_token(token: object) -> None:
    if not isinstance(token, Token):
        msg = f"token must be a Token, as token() returns it, not {type(token).__name__}"
        raise ConfigurationError(msg)
