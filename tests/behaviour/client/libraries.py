"""httpx and httpx2, each with our classes for it."""

from __future__ import annotations

from typing import Any, Final

import attrs
import httpx
import httpx2

import taxizer_async
import taxizer_async.httpx2

from taxizer_async.testing import Sandbox
from tests.support.callers import TLS


@attrs.frozen
class Library:
    """
    One of them.

    Attributes:
        module: The library; both have the same names.
        adapter: Our module for it.
    """

    module: Any
    adapter: Any

    def auth(self, sandbox: Sandbox, **options: Any) -> Any:
        """Return a `TaxizerAuth` for the sandbox."""
        return self.adapter.TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, **options)

    def taxizer_client(self, sandbox: Sandbox, **options: Any) -> Any:
        """Return a `TaxizerClient` for the sandbox."""
        return self.adapter.TaxizerClient(sandbox.credentials, base_url=sandbox.base_url, **options)

    def sync_taxizer_client(self, sandbox: Sandbox, **options: Any) -> Any:
        """Return a `SyncTaxizerClient` for the sandbox."""
        return self.adapter.SyncTaxizerClient(
            sandbox.credentials, base_url=sandbox.base_url, **options
        )

    def plain_sync_client(self, auth: Any, **options: Any) -> Any:
        """Return the library's own sync client with *auth*."""
        return self.module.Client(auth=auth, base_url=auth.base_url, verify=TLS, **options)

    def plain_client(self, auth: Any, **options: Any) -> Any:
        """Return the library's own client with *auth*."""
        return self.module.AsyncClient(auth=auth, base_url=auth.base_url, verify=TLS, **options)


HTTPX: Final = Library(httpx, taxizer_async)
HTTPX2: Final = Library(httpx2, taxizer_async.httpx2)
