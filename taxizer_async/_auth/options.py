"""
What a `TaxizerAuth` is given, wrapped so that no frame or repr shows it, and checked.

An argument may be or hold a secret where none belongs: a password in a URL, a pair in place of
`Credentials`, a `functools.partial` with the secret in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast, final

from taxizer_async._core.clock import SystemClock
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._http.urls import read_base_url
from taxizer_async._token.credentials_source import CredentialsSource


if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from taxizer_async._core.clock import Clock
    from taxizer_async._core.event_log import EventHook
    from taxizer_async._http.token_endpoints import HttpClientFactory
    from taxizer_async._token.credentials_source import CredentialsLike
    from taxizer_async.stores import TokenStore


_STORE_METHODS: Final = ("load", "save", "clear", "lease")
_CLOCK_METHODS: Final = ("monotonic", "wall", "sleep")


@final
class Arguments:
    """Keeps the arguments of a `TaxizerAuth`; raises nothing until it is `checked`."""

    __slots__ = (
        "_base_url",
        "_origins",
        "clock",
        "given",
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
        base_url: str,
        store: TokenStore | None,
        policy: RenewalPolicy | None,
        http_client: HttpClientFactory | None,
        on_event: EventHook | None,
        extra_origins: Iterable[str],
        clock: Clock | None,
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
        self.given: Final[dict[str, Any]] = {
            "credentials": credentials,
            "base_url": base_url,
            "store": store,
            "policy": policy,
            "http_client": http_client,
            "on_event": on_event,
            "extra_origins": self._origins,
            "clock": clock,
        }

    def checked(self) -> tuple[httpx.URL, list[httpx.URL]]:
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


def _listed(origins: Any) -> tuple[str, ...] | None:
    is_list = isinstance(origins, Iterable) and not isinstance(origins, str)
    return tuple(cast("Iterable[str]", origins)) if is_list else None


def _lacking(given: object, methods: tuple[str, ...]) -> str:
    return ", ".join(name for name in methods if not callable(getattr(given, name, None)))
