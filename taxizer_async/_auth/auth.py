"""TaxizerAuth: the `httpx.Auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from taxizer_async._auth.base import AuthBase
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
        """Carry the token; on a 401 that is about it, renew it and send the request once more."""
        return AuthFlow(self._bearer, request)
