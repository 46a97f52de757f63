"""What the options of a client for Taxizer say of its logins; no request is sent here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import attrs

from taxizer_async._core.errors import ConfigurationError
from taxizer_async._http.library import HttpLibrary, LoginClients


if TYPE_CHECKING:
    from taxizer_async._http.token_endpoints import HttpClientFactory


#: How to reach the network is the same question for a login as for any other request.
_SHARED_OPTIONS: Final = ("verify", "cert", "trust_env", "proxy")
#: These belong to the client that they are given to, and a login uses no connection of its pool.
_OWN_OPTIONS: Final = ("transport", "mounts")


@final
@attrs.frozen(eq=False, repr=False)
class ClientOptions:
    """Wraps options, so that no frame shows them: a proxy, a header or a base URL may hold a password."""

    library: HttpLibrary
    given: dict[str, Any]

    def login_client(self) -> HttpClientFactory | None:
        """Return what makes the clients for logins; None if the options say nothing, or not enough."""
        shared: dict[str, Any] = {
            name: self.given[name] for name in _SHARED_OPTIONS if name in self.given
        }
        return LoginClients(self.library, shared) if shared and not self._own() else None

    def check(self, *, told_how_to_log_in: bool) -> None:
        """
        Check that they go with a client for Taxizer.

        Raises:
            ConfigurationError: If there is an auth, or it is not clear how a login is to be sent.
        """
        library = self.library.name
        if "auth" in self.given:
            msg = f"a TaxizerClient brings its own auth: use {library}.AsyncClient with another"
            raise ConfigurationError(msg)
        own = self._own()
        if own and not told_how_to_log_in:
            msg = (
                f"with {own[0]}= it is not clear how a login is to be sent: give http_client=, a "
                f"callable that returns a fresh {library}.AsyncClient"
            )
            raise ConfigurationError(msg)

    def _own(self) -> list[str]:
        return [name for name in _OWN_OPTIONS if self.given.get(name) is not None]
