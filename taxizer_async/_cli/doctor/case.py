"""What the checks of `doctor` look at, and how they reach it: as logins do."""

from __future__ import annotations

import contextlib
import urllib.request

from typing import TYPE_CHECKING, Final

import attrs
import httpx

from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._cli.store_config import StoreConfig
from taxizer_async._core.secret import Secret
from taxizer_async._core.threads import AbandonableCalls
from taxizer_async._http.library import LoginClients
from taxizer_async._http.urls import DEFAULT_PORTS, parse_base_url


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


#: For calls that may hang in a file system or in DNS; the end of the program waits for none of them.
aside: Final = AbandonableCalls(16)

_SOCKS_PORT: Final = 1080


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
        return parse_base_url(self.base_url)

    def proxy(self) -> httpx.URL | None:
        """
        Return the URL of the proxy that the environment or the system names for the API.

        Raises:
            ValueError: If it is no URL of a proxy.
            httpx.InvalidURL: If it is no URL at all.
        """
        proxies = urllib.request.getproxies()
        named = proxies.get(self.url.scheme) or proxies.get("all")
        if not named or urllib.request.proxy_bypass(self.url.host):
            return None
        return httpx.Proxy(named if "://" in named else f"http://{named}").url

    def first_hop(self) -> tuple[str, int]:
        """Return the host and the port that a connection is made to: those of the proxy, or of the API."""
        url = self.proxy() or self.url
        return url.host, url.port or DEFAULT_PORTS.get(url.scheme, _SOCKS_PORT)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Open a client as a login has one; the runner limits the time of its requests."""
        async with await aside.run(LoginClients(HTTPX, {})) as client:
            client.timeout = None
            yield client
