"""
`TaxizerAuth` and `TaxizerClient` on httpx2, the maintained fork of httpx; logins go over httpx2, too.

Needs the extra: `pip install "taxizer-async[httpx2]"`. What the two do is in `_auth.base` and `_auth.flow`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from taxizer_async._auth.base import AuthBase, ClientBase
from taxizer_async._auth.flow import AuthFlow
from taxizer_async._http.library import HttpLibrary


try:
    import httpx2
except ImportError as _missing:
    _msg = 'taxizer_async.httpx2 needs httpx2: pip install "taxizer-async[httpx2]"'
    raise ImportError(_msg) from _missing


__all__ = ["SyncTaxizerClient", "TaxizerAuth", "TaxizerClient"]

HTTPX2: Final = HttpLibrary(httpx2)


class TaxizerAuth(AuthBase, httpx2.Auth):
    """`taxizer_async.TaxizerAuth` for httpx2; *http_client* returns an `httpx2.AsyncClient`, too."""

    _library = HTTPX2

    def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Put the token on the request; after a 401 that is about it, renew it and send the request again."""
        return AuthFlow(self._bearer, request)


# mypy reads the type of `auth` as any AuthBase.
class TaxizerClient(ClientBase[TaxizerAuth], httpx2.AsyncClient):  # type: ignore[misc]
    """`taxizer_async.TaxizerClient`, being an `httpx2.AsyncClient`."""

    _library = HTTPX2
    _auth_class = TaxizerAuth


class SyncTaxizerClient(ClientBase[TaxizerAuth], httpx2.Client):  # type: ignore[misc]
    """`taxizer_async.SyncTaxizerClient`, being an `httpx2.Client`."""

    _is_sync = True
    _library = HTTPX2
    _auth_class = TaxizerAuth
