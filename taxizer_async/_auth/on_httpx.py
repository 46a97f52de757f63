"""`TaxizerAuth` and `TaxizerClient` on httpx; what they do is in `_auth.base` and `_auth.flow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from taxizer_async._auth.base import AuthBase, ClientBase
from taxizer_async._auth.flow import AuthFlow
from taxizer_async._http.library import HttpLibrary


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


HTTPX: Final = HttpLibrary(httpx)


class TaxizerAuth(AuthBase, httpx.Auth):
    __doc__ = AuthBase.__doc__

    _library = HTTPX

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Put the token on the request; after a 401 that is about it, renew it and send the request again."""
        return AuthFlow(self._bearer, request)


# mypy reads the type of `auth` as any AuthBase.
class TaxizerClient(ClientBase[TaxizerAuth], httpx.AsyncClient):  # type: ignore[misc]
    __doc__ = ClientBase.__doc__

    _library = HTTPX
    _auth_class = TaxizerAuth
