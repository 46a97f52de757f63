"""
What a `TaxizerAuth` is given, wrapped so that no frame or repr shows it, and checked.

An argument may be or hold a secret where none belongs: a password in a URL, a pair in place of
`Credentials`, a `functools.partial` with the secret in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast, final

from taxizer_async._core.clock import SystemClock
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.library import LoginClients
from taxizer_async._http.urls import read_base_url
from taxizer_async._token.credentials_source import CredentialsSource


if TYPE_CHECKING:
    import ssl

    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.event_log import EventHook
    from taxizer_async._http.library import HttpClientFactory, HttpLibrary
    from taxizer_async._token.credentials_source import CredentialsLike
    from taxizer_async.stores import TokenStore


#: How to reach the network is the same question for a login as for any other request.
_SHARED_OPTIONS: Final = ("verify", "cert", "trust_env", "proxy")
#: These belong to the client that they are given to, and a login uses no connection of its pool.
_OWN_OPTIONS: Final = ("transport", "mounts")

_STORE_METHODS: Final = ("load", "save", "clear", "lease")
_CLOCK_METHODS: Final = ("monotonic", "wall", "sleep")


class AuthKwargs(TypedDict, total=False):
    """What a `TaxizerAuth` takes beside the credentials."""

    base_url: str
    store: TokenStore | None
    policy: RenewalPolicy | None
    http_client: HttpClientFactory | None
    on_event: EventHook | None
    extra_origins: Iterable[str]
    clock: Clock | None


class ClientKwargs(AuthKwargs, total=False):
    """What a `TaxizerClient` takes beside the credentials: that, and what an async client of httpx takes."""

    verify: ssl.SSLContext | str | bool
    cert: Any
    trust_env: bool
    http1: bool
    http2: bool
    proxy: Any
    mounts: Mapping[str, Any] | None
    transport: Any
    timeout: Any
    limits: Any
    follow_redirects: bool
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    params: Any
    headers: Any
    cookies: Any
    default_encoding: str | Callable[[bytes], str]


@final
class AuthOptions:
    """Keeps the arguments of a `TaxizerAuth`; raises nothing until they are validated."""

    __slots__ = (
        "_base_url",
        "_origins",
        "as_kwargs",
        "clock",
        "http_client",
        "on_event",
        "policy",
        "source",
        "store",
    )

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
        self._base_url: str = base_url
        self._origins: tuple[str, ...] | None = _listed(extra_origins)
        self.source: Final[CredentialsSource] = CredentialsSource(credentials)
        self.store: Final[TokenStore | None] = store
        self.policy: Final[RenewalPolicy] = RenewalPolicy() if policy is None else policy
        self.http_client: Final[HttpClientFactory | None] = http_client
        self.on_event: Final[EventHook | None] = on_event
        self.clock: Final[Clock] = SystemClock() if clock is None else clock
        #: As they were given, to make another of the same.
        self.as_kwargs: Final[dict[str, Any]] = {
            "credentials": credentials,
            "base_url": base_url,
            "store": store,
            "policy": policy,
            "http_client": http_client,
            "on_event": on_event,
            "extra_origins": self._origins,
            "clock": clock,
        }

    def validate(self) -> tuple[httpx.URL, list[httpx.URL]]:
        """
        Return the base URL, and the URLs of all origins that may get the token.

        Raises:
            ConfigurationError: If an argument is wrong.
        """
        self.source.check()
        wrong = next(self._wrong_types(), None)
        if wrong is not None:
            raise ConfigurationError(wrong)
        read = [read_base_url(each) for each in (self._base_url, *(self._origins or ()))]
        problems = [problem for _, problem in read]
        urls = [url for url, _ in read]
        if any(problems):
            del read, urls
            at, problem = next((at, each) for at, each in enumerate(problems) if each)
            msg = f"{'extra_origins' if at else 'base_url'} {problem}"
            raise ConfigurationError(msg)
        return urls[0], urls

    def _wrong_types(self) -> Iterator[str]:
        if self._origins is None:
            yield "extra_origins must be a list of URLs, not a single one"
        if self.http_client is not None and not callable(self.http_client):
            yield f"http_client must be a callable, not {type(self.http_client).__name__}"
        if not isinstance(self.policy, RenewalPolicy):
            yield f"policy must be a RenewalPolicy, not {type(self.policy).__name__}"
        lacks = _lacking(self.store, _STORE_METHODS)
        if self.store is not None and lacks:
            yield f"store must be a TokenStore, and lacks {lacks}"
        lacks = _lacking(self.clock, _CLOCK_METHODS)
        if lacks:
            yield f"clock must be a Clock, and lacks {lacks}"


@final
class ClientOptions:
    """
    What a `TaxizerClient` was given, split into what is its auth's and what is its library's.

    It is wrapped, so that no frame shows it: a proxy, a header or a base URL may hold a password.
    """

    __slots__ = ("_auth_kwargs", "_credentials", "_library", "library_kwargs")

    def __init__(
        self, library: HttpLibrary, credentials: CredentialsLike, kwargs: Mapping[str, Any]
    ) -> None:
        self._library: Final = library
        self._credentials: Final = credentials
        auth_kwargs = AuthKwargs.__optional_keys__
        self._auth_kwargs: Final = {name: kwargs[name] for name in kwargs if name in auth_kwargs}
        self.library_kwargs: Final = {
            name: kwargs[name] for name in kwargs if name not in auth_kwargs
        }

    def auth_options(self) -> AuthOptions:
        """
        Return the auth's options; a login reaches the network as the client does.

        Raises:
            ConfigurationError: If there is an auth, or it is not clear how a login is to be sent.
        """
        # Before anything of them is in a frame.
        self._check()
        kwargs = dict(self._auth_kwargs)
        if kwargs.get("http_client") is None:
            kwargs["http_client"] = self.login_client()
        return AuthOptions(self._credentials, **kwargs)

    def kwargs(self) -> dict[str, Any]:
        """Return all options, to make a client of the same."""
        return {**self._auth_kwargs, **self.library_kwargs}

    def login_client(self) -> HttpClientFactory | None:
        """Return what makes the clients for logins; None if the options say nothing, or not enough."""
        given = self.library_kwargs
        shared: dict[str, Any] = {name: given[name] for name in _SHARED_OPTIONS if name in given}
        return LoginClients(self._library, shared) if shared and not self._own() else None

    def _check(self) -> None:
        library = self._library.name
        if "auth" in self.library_kwargs:
            msg = f"a TaxizerClient brings its own auth: use {library}.AsyncClient with another"
            raise ConfigurationError(msg)
        own = self._own()
        if own and self._auth_kwargs.get("http_client") is None:
            msg = (
                f"with {own[0]}= it is not clear how a login is to be sent: give http_client=, a "
                f"callable that returns a fresh {library}.AsyncClient"
            )
            raise ConfigurationError(msg)

    def _own(self) -> list[str]:
        return [name for name in _OWN_OPTIONS if self.library_kwargs.get(name) is not None]


def _listed(origins: Any) -> tuple[str, ...] | None:
    is_list = isinstance(origins, Iterable) and not isinstance(origins, str)
    return tuple(cast("Iterable[str]", origins)) if is_list else None


def _lacking(given: object, methods: tuple[str, ...]) -> str:
    return ", ".join(name for name in methods if not callable(getattr(given, name, None)))
