"""The name of a place, which has to be the same from each HTTP library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yarl

from taxizer_async import aiohttp
from taxizer_async._auth import flow


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://api.example/v1/a%20b?c=d", "GET https://api.example/v1/a%20b"),
        ("https://api.example:443/v1", "GET https://api.example/v1"),
        ("https://API.example:8443/v1", "GET https://api.example:8443/v1"),
        ("http://localhost:80/", "GET http://localhost/"),
        ("http://localhost:443/", "GET http://localhost:443/"),
        ("wss://api.example:443/v1", "GET wss://api.example/v1"),
        ("http://[0:0:0:0:0:0:0:1]/v1", "GET http://[::1]/v1"),
        ("http://[::1]:8080/v1", "GET http://[::1]:8080/v1"),
    ],
)
def test_a_place_has_one_name(url: str, place: str) -> None:
    """What one stack learns of a place is known to the others: no default port, one spelling of the host."""
    request: Any = SimpleNamespace(method="GET", url=yarl.URL(url))

    assert flow._place(httpx.Request("GET", url)) == place
    assert aiohttp._place(request) == place
