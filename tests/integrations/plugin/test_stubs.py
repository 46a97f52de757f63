"""Logins that are stubbed with the JSON of `token_response`, without a sandbox."""

from __future__ import annotations

import json

import httpx
import pytest
import respx

from pytest_httpx import HTTPXMock

from taxizer_async import Credentials, TaxizerAuth, TaxizerClient, TokenResponseError
from taxizer_async.testing import token_response


BASE = "https://api.taxizer.test"
CONNECT, REFRESH = f"{BASE}/v1/Auth/Connect", f"{BASE}/v1/Auth/AppRefreshToken"
INVOICES = f"{BASE}/v1/Invoices/GenerateInvoice"
CREDENTIALS = Credentials("an-id", "a-secret")


@pytest.fixture(name="auth")
def _auth() -> TaxizerAuth:
    return TaxizerAuth(CREDENTIALS, base_url=BASE)


async def test_respx(auth: TaxizerAuth) -> None:
    """With respx the login is stubbed, too, although it uses another client."""
    with respx.mock(assert_all_called=True) as router:
        login = router.post(CONNECT).respond(json=token_response())
        invoice = router.post(INVOICES).respond(json={})
        async with httpx.AsyncClient(auth=auth) as client:
            for _ in range(3):
                assert (await client.post(INVOICES)).status_code == httpx.codes.OK

    assert login.call_count == 1
    assert json.loads(login.calls.last.request.content)["clientId"] == "an-id"
    assert invoice.calls.last.request.headers["Authorization"] == "Bearer stubbed-jwt"


async def test_respx_with_a_renewal() -> None:
    """After a 401 the token is renewed with the stubbed refresh token."""
    with respx.mock() as router:
        router.post(CONNECT).respond(json=token_response())
        renewal = router.post(REFRESH).respond(json=token_response(jwtToken="second-jwt"))
        router.post(INVOICES, headers={"Authorization": "Bearer second-jwt"}).respond(json={})
        router.post(INVOICES).respond(401)
        async with TaxizerClient(CREDENTIALS, base_url=BASE) as client:
            response = await client.post("/v1/Invoices/GenerateInvoice")

    assert response.status_code == httpx.codes.OK
    sent = json.loads(renewal.calls.last.request.content)
    assert sent == {"refreshToken": "stubbed-refresh-token"}


async def test_pytest_httpx(auth: TaxizerAuth, httpx_mock: HTTPXMock) -> None:
    """With pytest-httpx the login is stubbed, too."""
    httpx_mock.add_response(method="POST", url=CONNECT, json=token_response())
    httpx_mock.add_response(
        method="POST", url=INVOICES, match_headers={"Authorization": "Bearer stubbed-jwt"}
    )
    async with httpx.AsyncClient(auth=auth) as client:
        assert (await client.post(INVOICES)).status_code == httpx.codes.OK

    assert len(httpx_mock.get_requests(url=CONNECT)) == 1


async def test_a_mock_transport() -> None:
    """A mock transport serves only its client, so logins get it through http_client."""

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == CONNECT:
            return httpx.Response(200, json=token_response())
        assert request.headers["Authorization"] == "Bearer stubbed-jwt"
        return httpx.Response(201)

    transport = httpx.MockTransport(answer)
    auth = TaxizerAuth(
        CREDENTIALS, base_url=BASE, http_client=lambda: httpx.AsyncClient(transport=transport)
    )
    async with httpx.AsyncClient(auth=auth, transport=transport) as client:
        assert (await client.post(INVOICES)).status_code == httpx.codes.CREATED


async def test_every_documented_field_is_there(auth: TaxizerAuth) -> None:
    """A stubbed token is complete, and ends in the far future."""
    with respx.mock() as router:
        router.post(CONNECT).respond(json=token_response(username="somebody"))
        token = await auth.token()

    assert (token.app_name, token.username) == ("InvoiceApp", "somebody")
    assert (token.account_id, token.account_name) == ("acc12345", "MainAccount")
    assert token.app_id == "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    assert token.expires_at is not None
    assert token.refresh_expires_at == token.expires_at
    assert token.expires_at.year == 2099
    assert auth.status().refreshable


async def test_fields_can_be_wrong(auth: TaxizerAuth) -> None:
    """A stub may say what the server never would, to test what a service makes of it."""
    with respx.mock() as router:
        router.post(CONNECT).respond(json=token_response(jwtToken=None))
        with pytest.raises(TokenResponseError):
            await auth.token()


def test_a_field_that_is_none() -> None:
    """A misspelt field is an error, not ignored."""
    with pytest.raises(TypeError, match="no jwtTokn; it has appId, "):
        token_response(jwtTokn="x")


def test_answers_are_apart() -> None:
    """Changing one answer changes no other."""
    token_response().clear()

    assert len(token_response()) == 9
