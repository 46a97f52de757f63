"""The token goes to the API's origin, and to no other."""

from __future__ import annotations

import httpx
import pytest

from taxizer_async import Credentials, TaxizerAuth


class IssuingTransport(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"jwtToken": "jwt-1"}, request=request)


def auth_for(base_url: str) -> TaxizerAuth:
    return TaxizerAuth(
        Credentials("id", "secret"),
        base_url=base_url,
        extra_origins=["https://extra.example:8443/path"],
        http_client=lambda: httpx.AsyncClient(transport=IssuingTransport()),
    )


async def carried(auth: TaxizerAuth, url: str) -> str | None:
    """Return the Authorization header that a request to *url* is sent with."""
    flow = auth.async_auth_flow(httpx.Request("GET", url))
    request = await anext(flow)
    await flow.aclose()
    authorization: str | None = request.headers.get("Authorization")
    return authorization


@pytest.mark.invariant(18)
@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.example", "https://api.example/v1/x"),
        ("https://elsewhere.example", "https://extra.example:8443/v1/x"),
        ("https://api.example", "https://API.EXAMPLE/v1/x"),
        ("https://api.example", "HTTPS://api.example:443/"),
        ("https://api.example:443", "https://api.example"),
        ("https://api.example/base", "https://api.example/elsewhere"),
        ("https://api.example", "https://user:password@api.example/v1/x"),
        ("https://api.example", "https://api.example/@evil.example"),
        ("https://api.example", "https://api.example?@evil.example"),
        ("https://api.example", "https://api.example#@evil.example"),
        ("http://localhost", "http://LOCALHOST:80/"),
        ("https://[2001:db8::1]:8443", "https://[2001:DB8::1]:8443/"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/x"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example/v1/x"),
        ("https://xn--mnchen-3ya.example", "https://MÜNCHEN.example/v1/x"),
    ],
)
async def test_the_token_goes_to_its_origin(base_url: str, url: str) -> None:
    """Scheme, host and port decide, in any spelling of them."""
    assert await carried(auth_for(base_url), url) == "Bearer jwt-1"


@pytest.mark.invariant(18)
@pytest.mark.report(64)
@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.example", "http://api.example/v1/x"),
        ("https://api.example", "https://extra.example/v1/x"),
        ("https://api.example", "http://extra.example:8443/v1/x"),
        ("https://api.example", "http://api.example:443/v1/x"),
        ("https://api.example", "https://api.example:444/v1/x"),
        ("https://api.example", "https://api.example:80/v1/x"),
        ("https://api.example:8443", "https://api.example/v1/x"),
        ("https://api.example", "https://api.example.evil.example"),
        ("https://api.example", "https://evilapi.example"),
        ("https://api.example", "https://sub.api.example"),
        ("https://api.example", "https://api.example@evil.example/"),
        ("https://api.example", "https://api.example:443@evil.example/"),
        ("https://api.example", "https://user:api.example@evil.example/"),
        ("https://api.example", "https://evil.example/https://api.example"),
        ("https://api.example", "https://evil.example?https://api.example"),
        ("https://api.example", "https://evil.example#@api.example"),
        ("https://api.example", "https://api.example%2eevil.example"),
        ("https://api.example", "https://аpi.example"),  # noqa: RUF001 - that is the point
        ("https://api.example", "/v1/x"),
        ("https://api.example", "//api.example/v1/x"),
        ("https://api.example", "ws://api.example/v1/x"),
        ("http://localhost:8000", "http://localhost:8001/"),
        ("http://localhost:8000", "http://127.0.0.1:8000/"),
        ("http://[::1]:8000", "http://[::1]:8001/"),
        ("http://[::1]:8000", "http://[::2]:8000/"),
        ("https://[2001:db8::1]", "https://[::ffff:2001:db8]/"),
    ],
)
async def test_the_token_goes_to_no_other_origin(base_url: str, url: str) -> None:
    """A URL that differs in scheme, host or port gets no token, however similar it looks."""
    try:
        request_url = str(httpx.URL(url))
    except httpx.InvalidURL:
        return
    assert await carried(auth_for(base_url), request_url) is None
