"""
The arguments of a `TaxizerAuth` and a `TaxizerClient`, wrapped so that no frame or repr shows them, and checked.

Any of them may hold a secret by mistake: a password in a URL, a pair in place of `Credentials`, a
`functools.partial` with the secret in it.
"""

from __future__ import annotations

import inspect
import ssl

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypedDict, Unpack, cast, final

import httpx

from taxizer_async._core.clock import Clock, SystemClock
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.event_log import EventHook
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.library import HttpClientFactory, HttpLibrary, LoginClients
from taxizer_async._http.urls import parse_base_url
from taxizer_async._token.credentials_source import CredentialsLike, CredentialsSource
from taxizer_async.stores import TokenStore


#: A login reaches the network as any other request of the client does.
_SHARED_OPTIONS: Final = ("verify", "cert", "trust_env", "proxy")
#: These can't be shared: the client closes them, and a login uses no connection of its pool.
_OWN_OPTIONS: Final = ("transport", "mounts")

_STORE_METHODS: Final = ("load", "save", "clear", "lease")
_CLOCK_METHODS: Final = ("monotonic", "wall", "sleep")


class AuthKwargs(TypedDict, total=False):
    """The options of a `TaxizerAuth`."""

    base_url: str
    store: TokenStore | None
    policy: RenewalPolicy | None
    http_client: HttpClientFactory | None
    on_event: EventHook | None
    extra_origins: Iterable[str]
    clock: Clock | None


class ClientKwargs(AuthKwargs, total=False):
    """The options of a `TaxizerClient`: those of its auth, and those of an `httpx.AsyncClient`."""

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
    """The arguments of a `TaxizerAuth`, which `validate` checks in a frame that does not show them."""

    def __init__(self, credentials: CredentialsLike, **options: Unpack[AuthKwargs]) -> None:
        policy, clock = options.get("policy"), options.get("clock")
        self._base_url: Final = options.get("base_url", DEFAULT_BASE_URL)
        self._origins: Final = _listed(options.get("extra_origins", ()))
        self.source: Final = CredentialsSource(credentials)
        self.store: Final = options.get("store")
        self.policy: Final = RenewalPolicy() if policy is None else policy
        self.http_client: Final = options.get("http_client")
        self.on_event: Final = options.get("on_event")
        self.clock: Final[Clock] = SystemClock() if clock is None else clock
        #: As they were passed, to make another of the same.
        self.as_kwargs: Final[dict[str, Any]] = {
            "credentials": credentials,
            **options,
            "extra_origins": self._origins,
        }

    def validate(self) -> list[httpx.URL]:
        """
        Return the URLs of all origins that may get the token; the first is the base URL.

        Raises:
            ConfigurationError: If an argument is wrong.
        """
        self.source.check()
        wrong = next(self._wrong_types(), None)
        if wrong is not None:
            raise ConfigurationError(wrong)
        # By `map`, as the variable of a loop would be in this frame: see `_core.secret`.
        parse_origin = partial(parse_base_url, name="extra_origins")
        return [parse_base_url(self._base_url), *map(parse_origin, self._origins or ())]

    def _wrong_types(self) -> Iterator[str]:
        if self._origins is None:
            yield "extra_origins must be a list of URLs, not None or a single one"
        for name, call in (("http_client", self.http_client), ("on_event", self.on_event)):
            if call is not None and not callable(call):
                yield f"{name} must be a callable, not {type(call).__name__}"
        if not isinstance(self.policy, RenewalPolicy):
            yield f"policy must be a RenewalPolicy, not {type(self.policy).__name__}"
        if self.store is not None:
            yield from _problems_of("store", self.store, "a TokenStore", _STORE_METHODS)
        yield from _problems_of("clock", self.clock, "a Clock", _CLOCK_METHODS)


@final
class ClientOptions:
    """
    The arguments of a `TaxizerClient`: the credentials, and *options* for its auth and its library.

    Attributes:
        library_options: Those that the library's client takes.
    """

    def __init__(
        self,
        library: HttpLibrary,
        credentials: CredentialsLike,
        options: Mapping[str, Any],
        *,
        is_sync: bool = False,
    ) -> None:
        self._library: Final = library
        self._is_sync: Final = is_sync
        self._credentials: Final = credentials
        self.options: Final = options
        of_auth = AuthKwargs.__optional_keys__
        self.library_options: Final = {
            name: options[name] for name in options if name not in of_auth
        }

    def auth_options(self) -> AuthOptions:
        """
        Return the options of the auth; by default a login reaches the network as the client does.

        Raises:
            ConfigurationError: If there is another auth, or it is not clear how to send a login.
        """
        # Before anything of them is in a frame.
        self._check()
        of_auth: dict[str, Any] = {
            name: self.options[name] for name in self.options if name not in self.library_options
        }
        if of_auth.get("http_client") is None:
            of_auth["http_client"] = self.login_client()
        return AuthOptions(self._credentials, **of_auth)

    def login_client(self) -> LoginClients | None:
        """Return what makes the clients for logins; None for the default."""
        given = self.library_options
        shared: dict[str, Any] = {name: given[name] for name in _SHARED_OPTIONS if name in given}
        return LoginClients(self._library, shared) if shared else None

    def _check(self) -> None:
        library = self._library.module.__name__
        if "auth" in self.options:
            ours, theirs = client_names(self._library, is_sync=self._is_sync)
            msg = f"a {ours} makes its own auth: use {theirs} to pass another"
            raise ConfigurationError(msg)
        own = [name for name in _OWN_OPTIONS if self.options.get(name) is not None]
        if own and self.options.get("http_client") is None:
            msg = (
                f"a login can't share the client's {own[0]}=: pass http_client=, a callable that returns "
                f"a fresh {library}.AsyncClient"
            )
            raise ConfigurationError(msg)


def client_names(library: HttpLibrary, *, is_sync: bool) -> tuple[str, str]:
    """Return the names of our client, and of that of *library* which it extends."""
    sort = "" if is_sync else "Async"
    return f"{'Sync' * is_sync}TaxizerClient", f"{library.module.__name__}.{sort}Client"


def _listed(origins: Any) -> tuple[str, ...] | None:
    is_list = isinstance(origins, Iterable) and not isinstance(origins, str)
    return tuple(cast("Iterable[str]", origins)) if is_list else None


def _problems_of(name: str, given: object, kind: str, methods: tuple[str, ...]) -> Iterator[str]:
    lacks = ", ".join(method for method in methods if not callable(getattr(given, method, None)))
    if lacks:
        yield f"{name} must be {kind}, and lacks {lacks}"
    elif isinstance(given, type) and not all(map(partial(_needs_no_instance, given), methods)):
        yield f"{name} must be {kind}, not the class {given.__name__}: make one of it"


def _needs_no_instance(given: type, method: str) -> bool:
    return isinstance(inspect.getattr_static(given, method), (classmethod, staticmethod))
