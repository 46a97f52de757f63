"""What the checks of `doctor` look at, and how they reach it: as logins do."""

from __future__ import annotations

import contextlib

from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import attrs
import httpx

from httpx._utils import (  # pyright: ignore[reportPrivateUsage]
    URLPattern,
    get_environment_proxies,
)

from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._cli.store_config import StoreConfig
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret
from taxizer_async._core.threads import AbandonableCalls
from taxizer_async._http.library import LoginClients
from taxizer_async._http.urls import DEFAULT_PORTS, parse_base_url


#: For calls that may hang in a file system or in DNS; the end of the program waits for none of them.
aside: Final = AbandonableCalls(16)

_SOCKS_PORT: Final = 1080


class Hop(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@attrs.define(kw_only=True, eq=False, repr=False)
class Case:
    """
    The set-up that is checked.

    Attributes:
        base_url: Where the API is said to be.
        store: The store to check.
        seconds: The limit of each check.
        jwt: The token; only the check `login` writes it.
    """

    base_url: str
    store: StoreConfig
    seconds: float
    jwt: Secret = attrs.field(factory=lambda: Secret(""))

    @property
    def url(self) -> httpx.URL:
        """The URL of the API; raises `ConfigurationError` unless the check `url` has passed it."""
        return parse_base_url(self.base_url, "TAXIZER_BASE_URL (or --base-url)")

    def proxy(self) -> httpx.URL | None:
        """
        Return the URL of the proxy that the environment or the system names for the API.

        httpx tells by no public means which proxy it uses, and urllib reads `NO_PROXY` in another way.

        Raises:
            ConfigurationError: If a variable is not understood, even one for other requests, as no client can
                be made then.
        """
        named = {_pattern(key): url for key, url in get_environment_proxies().items()}
        proxies = {pattern: _proxy(url) for pattern, url in named.items()}
        chosen = (proxies[pattern] for pattern in sorted(proxies) if pattern.matches(self.url))
        return next(chosen, None)

    def first_hop(self) -> Hop:
        """Return what a connection is made to: the proxy, or the API."""
        url = self.proxy() or self.url
        return Hop(url.host, url.port or DEFAULT_PORTS.get(url.scheme, _SOCKS_PORT))

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Open a client as a login has one; the runner limits the time of its requests."""
        async with await aside.run(LoginClients(HTTPX, {})) as client:
            client.timeout = None
            yield client


def _pattern(key: str) -> URLPattern:
    with contextlib.suppress(ValueError, OverflowError, httpx.InvalidURL):
        return URLPattern(key)
    msg = "NO_PROXY has an entry that is not understood: write api.example.com, .example.com, 10.0.0.1 or ::1"
    raise ConfigurationError(msg)


def _proxy(named: str | None) -> httpx.URL | None:
    if named is None:
        return None
    with contextlib.suppress(ValueError, OverflowError, httpx.InvalidURL):
        url = httpx.Proxy(named).url
        if url.host:
            return url
    msg = (
        "a proxy variable does not hold the URL of a proxy: set it to one such as "
        "http://proxy.example.com:3128, or unset it"
    )
    raise ConfigurationError(msg)
