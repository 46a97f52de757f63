"""The logins of a TaxizerClient use the same network options as its requests."""

from __future__ import annotations

import ssl

from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from taxizer_async import TokenEndpointUnavailableError
from taxizer_async.testing import Sandbox
from tests.support.certificates import tls_contexts
from tests.support.forward_proxy import ForwardProxy
from tests.support.policies import ONE_TRY
from tests.support.raw_server import RawServer, answer
from tests.support.token_calls import PAIR

from .libraries import Library


ISSUING = (answer(b'{"jwtToken": "j-1"}'),)


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy:
        yield proxy


@pytest.mark.report(94)
async def test_a_client_shares_its_proxy_with_logins(
    sandbox: Sandbox, library: Library, proxy: ForwardProxy
) -> None:
    """With proxy= both the login and the request go through the proxy."""
    async with library.taxizer_client(sandbox, proxy=proxy.url) as client:
        await client.get("/v1/x")

    assert proxy.lines == [
        f"POST {sandbox.base_url}/v1/Auth/Connect HTTP/1.1",
        f"GET {sandbox.base_url}/v1/x HTTP/1.1",
    ]


@pytest.mark.report(94)
@pytest.mark.parametrize("trust_env", [True, False])
async def test_a_client_shares_its_trust_in_the_environment_with_logins(
    sandbox: Sandbox,
    library: Library,
    proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    trust_env: bool,
) -> None:
    """With trust_env=False neither the login nor the request uses HTTP_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    async with library.taxizer_client(sandbox, trust_env=trust_env) as client:
        await client.get("/v1/x")

    assert len(proxy.lines) == (2 if trust_env else 0)
    assert sandbox.counters.resources_ok == 1


@pytest.mark.report(94)
@pytest.mark.parametrize("with_certificate", [False, True])
async def test_a_client_shares_verify_with_logins(library: Library, with_certificate: bool) -> None:
    """With verify= login and request trust the user's own CA, and present the user's certificate."""
    authority = trustme.CA()
    served, trusting = tls_contexts(authority)
    if with_certificate:
        authority.configure_trust(served)
        served.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("client.example").configure_cert(trusting)
    with RawServer(ISSUING, tls=served) as server:
        options: dict[str, Any] = {"base_url": server.base_url, "policy": ONE_TRY}
        async with library.adapter.TaxizerClient(PAIR, verify=trusting, **options) as client:
            assert (await client.get("/v1/x")).status_code == 200
        async with library.adapter.TaxizerClient(PAIR, **options) as client:
            with pytest.raises(TokenEndpointUnavailableError, match="certificate"):
                await client.get("/v1/x")

    assert len(server.requests) == 2


async def test_http_client_goes_before_what_is_shared(
    sandbox: Sandbox, library: Library, proxy: ForwardProxy
) -> None:
    """With http_client= a login uses that factory, whatever the options of the requests."""
    made: list[Any] = []

    def http_client() -> Any:
        made.append(library.module.AsyncClient())
        return made[-1]

    async with library.taxizer_client(sandbox, proxy=proxy.url, http_client=http_client) as client:
        await client.get("/v1/x")

    assert [each.is_closed for each in made] == [True]
    assert proxy.lines == [f"GET {sandbox.base_url}/v1/x HTTP/1.1"]
