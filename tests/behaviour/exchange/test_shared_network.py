"""The logins of a TaxizerClient use the same network options as its requests."""

from __future__ import annotations

import ssl

from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from taxizer_async import RenewalPolicy, TaxizerClient, TokenEndpointUnavailableError
from tests.support.forward_proxy import ForwardProxy
from tests.support.raw_server import answer
from tests.support.token_calls import PAIR


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taxizer_async.testing import Sandbox
    from tests.support.raw_server import RawServer


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy:
        yield proxy


@pytest.mark.report(94)
async def test_a_client_shares_its_proxy_with_logins(sandbox: Sandbox, proxy: ForwardProxy) -> None:
    """With proxy= both the login and the request go through the proxy."""
    async with TaxizerClient(PAIR, base_url=sandbox.base_url, proxy=proxy.url) as client:
        await client.get("/v1/x")

    assert proxy.lines == [
        f"POST {sandbox.base_url}/v1/Auth/Connect HTTP/1.1",
        f"GET {sandbox.base_url}/v1/x HTTP/1.1",
    ]


@pytest.mark.report(94)
@pytest.mark.parametrize("trust_env", [True, False])
async def test_a_client_shares_its_trust_in_the_environment_with_logins(
    sandbox: Sandbox, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, *, trust_env: bool
) -> None:
    """With trust_env=False neither the login nor the request uses HTTP_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    async with TaxizerClient(PAIR, base_url=sandbox.base_url, trust_env=trust_env) as client:
        await client.get("/v1/x")

    assert len(proxy.lines) == (2 if trust_env else 0)
    assert sandbox.counters.resources_ok == 1


@pytest.mark.report(94)
async def test_a_client_shares_its_trust_in_certificates_with_logins(
    serve: Callable[..., RawServer],
) -> None:
    """With verify= both the login and the request trust the user's own CA."""
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)
    server = serve((answer(b'{"jwtToken": "j-1"}'),), tls=served)
    async with TaxizerClient(PAIR, base_url=server.base_url, verify=trusting) as client:
        assert (await client.get("/v1/x")).status_code == 200
    once = RenewalPolicy(backoff=60.0)
    async with TaxizerClient(PAIR, base_url=server.base_url, policy=once) as client:
        with pytest.raises(TokenEndpointUnavailableError):
            await client.get("/v1/x")

    assert len(server.requests) == 2


async def test_a_client_shares_its_certificate_with_logins(serve: Callable[..., RawServer]) -> None:
    """A client certificate in verify= is presented by the login as well."""
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(served)
    served.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(trusting)
    authority.issue_cert("client.example").configure_cert(trusting)
    server = serve((answer(b'{"jwtToken": "j-1"}'),), tls=served)
    async with TaxizerClient(PAIR, base_url=server.base_url, verify=trusting) as client:
        assert (await client.get("/v1/x")).status_code == 200

    assert len(server.requests) == 2


async def test_http_client_goes_before_what_is_shared(
    sandbox: Sandbox, proxy: ForwardProxy
) -> None:
    """With http_client= a login uses that factory, whatever the options of the requests."""
    asked: list[str] = []

    def http_client() -> httpx.AsyncClient:
        asked.append("login")
        return httpx.AsyncClient()

    async with TaxizerClient(
        PAIR, base_url=sandbox.base_url, proxy=proxy.url, http_client=http_client
    ) as client:
        await client.get("/v1/x")

    assert asked == ["login"]
    assert proxy.lines == [f"GET {sandbox.base_url}/v1/x HTTP/1.1"]
