"""`TaxizerAuth` and `TaxizerClient` on httpx; what they do is in `_auth.base` and `_auth.flow`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import httpx

from taxizer_async._auth.base import AuthBase, ClientBase
from taxizer_async._auth.flow import AuthFlow
from taxizer_async._http.library import HttpLibrary


HTTPX: Final = HttpLibrary(httpx)


class TaxizerAuth(AuthBase, httpx.Auth):
    """
    Logs in to Taxizer and carries the bearer token on every request of a client, async or sync.

    Any number of clients, tasks, event loops and threads may share one object, and with it one token. It
    survives a fork, owns no connection and needs no closing. Where no event loop runs, logins and renewals
    run in a short-lived thread.

    Args:
        credentials: A `Credentials`, or a sync or async callable that returns one and is called anew for
            each login.
        base_url: Where the API is; https, or http on loopback.
        store: Where the token is shared; by default this object's memory.
        policy: All durations and limits.
        http_client: Returns a fresh async client of the same HTTP library, which carries one login or
            renewal and is then closed. Pass it for a proxy, a CA of your own or a test transport. It is
            called in a worker thread, as making a client reads files.
        on_event: The first listener, called with each event; see `add_listener`.
        extra_origins: Other origins than that of *base_url* that may get the token.
        clock: For tests.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    _library = HTTPX

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Put the token on the request; after a 401 that is about it, renew it and send the request again."""
        return AuthFlow(self._bearer, request)


# mypy reads the type of `auth` as any AuthBase.
class TaxizerClient(ClientBase[TaxizerAuth], httpx.AsyncClient):  # type: ignore[misc]
    """
    An `httpx.AsyncClient` that is pointed at Taxizer and logged in.

    `client.auth` is the `TaxizerAuth` behind it: `client.auth.keep_fresh`, `client.auth.status()`.

    Args:
        credentials: As for `TaxizerAuth`.
        **options: The other arguments of `TaxizerAuth`, and those of `httpx.AsyncClient` except *auth*.
            Requests name paths below *base_url*. By default *http_client* returns a client with this
            client's *verify*, *cert*, *trust_env* and *proxy*.

    Raises:
        ConfigurationError: If an argument is wrong, or *transport* or *mounts* comes without *http_client*.
    """

    _library = HTTPX
    _auth_class = TaxizerAuth


class SyncTaxizerClient(ClientBase[TaxizerAuth], httpx.Client):  # type: ignore[misc]
    """
    An `httpx.Client` that is pointed at Taxizer and logged in, for programs without an event loop.

    `client.auth` is the `TaxizerAuth` behind it: `client.auth.status()`, `client.auth.sync_token()`. Threads
    may share a client; make one in each process.

    Args:
        credentials: As for `TaxizerAuth`.
        **options: The other arguments of `TaxizerAuth`, and those of `httpx.Client` except *auth*, as for
            `TaxizerClient`. A login is sent by an async client, which *http_client* returns.

    Raises:
        ConfigurationError: If an argument is wrong, or *transport* or *mounts* comes without *http_client*.
    """

    _is_sync = True
    _library = HTTPX
    _auth_class = TaxizerAuth
