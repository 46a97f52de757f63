"""The parts that the tests of `tests/behaviour/auth` work with, and the flow of a request by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.behaviour.auth.conftest import (  # noqa: F401 - fixtures
    _aging_auth,
    _auth,
    _clock,
    _events,
    _fleet,
    _make_auth,
    _store,
)


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taxizer_async import TaxizerAuth


PATH = "/v1/Invoices/GenerateInvoice"


def flow_of(auth: TaxizerAuth) -> AsyncGenerator[httpx.Request, httpx.Response]:
    """Return the flow of a request to the API, not begun."""
    return auth.async_auth_flow(httpx.Request("POST", auth.base_url + PATH))
