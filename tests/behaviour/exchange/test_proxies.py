"""Logins use the proxies of the user."""

from __future__ import annotations

import contextlib

from collections.abc import Callable, Iterator

import httpx
import pytest

from taxizer_async._core.exchange import Issued, Unavailable
from taxizer_async.testing import Sandbox
from tests.support.certificates import tls_contexts
from tests.support.forward_proxy import ForwardProxy
from tests.support.raw_server import Serve, answer
from tests.support.token_calls import Asker


@pytest.fixture(name="proxies")
def _proxies() -> Iterator[Callable[..., ForwardProxy]]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(ForwardProxy(**options))


@pytest.mark.report(94)
async def test_the_factorys_proxy_is_used(
    sandbox: Sandbox, proxies: Callable[..., ForwardProxy]
) -> None:
    """With a proxy in the factory's client both calls go through it."""
    proxy = proxies()
    asker = Asker(sandbox.base_url, http_client=lambda: httpx.AsyncClient(proxy=proxy.url))
    connected = await asker.connect()
    refreshed = await asker.refresh(sandbox.issued_refresh_tokens[-1])

    assert isinstance(connected, Issued)
    assert isinstance(refreshed, Issued)
    assert proxy.lines == [
        f"POST {sandbox.base_url}/v1/Auth/Connect HTTP/1.1",
        f"POST {sandbox.base_url}/v1/Auth/AppRefreshToken HTTP/1.1",
    ]


@pytest.mark.report(94)
async def test_the_environments_proxy_is_used(
    sandbox: Sandbox,
    asker: Asker,
    proxies: Callable[..., ForwardProxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTP_PROXY applies to the default client, as it does to httpx."""
    proxy = proxies()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)

    assert isinstance(await asker.connect(), Issued)
    assert proxy.lines == [f"POST {sandbox.base_url}/v1/Auth/Connect HTTP/1.1"]


async def test_a_tunnel_shows_the_proxy_nothing(
    serve: Serve, proxies: Callable[..., ForwardProxy]
) -> None:
    """Over https the proxy sees a CONNECT, and neither path nor secret."""
    served, trusting = tls_contexts()
    server = serve((answer(b'{"jwtToken": "j-1"}'),), tls=served)
    proxy = proxies()
    asker = Asker(
        server.base_url, http_client=lambda: httpx.AsyncClient(proxy=proxy.url, verify=trusting)
    )

    assert isinstance(await asker.connect(), Issued)
    assert proxy.lines == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
    assert b"sandbox-secret" not in proxy.heads[0]


@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_proxy_that_refuses_a_tunnel_leaves_the_secret_unsent(
    proxies: Callable[..., ForwardProxy], call: str
) -> None:
    """A refused tunnel is a typed failure that leaves the request unsent, and quotes nothing."""
    proxy = proxies(refusal="407 cnry-phrase")
    asker = Asker("https://api.example", http_client=lambda: httpx.AsyncClient(proxy=proxy.url))
    outcome = await (asker.connect(attempts=2) if call == "connect" else asker.refresh())

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason.startswith("ProxyError")
    assert "cnry" not in outcome.reason
    assert len(proxy.lines) == (2 if call == "connect" else 1)
    assert proxy.lines[0].startswith("CONNECT api.example:443 ")
