"""Real TLS on loopback: whose certificates are believed, and what is said if they are not."""

from __future__ import annotations

import ssl

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from taxizer_async._http_library import HttpLibrary
from taxizer_async._outcomes import Issued, Unavailable

from .conftest import Asker
from .raw_server import answer


if TYPE_CHECKING:
    from collections.abc import Callable

    from taxizer_async.testing import Sandbox

    from .raw_server import RawServer


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="https")
def _https(serve: Callable[..., RawServer], authority: trustme.CA) -> RawServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return serve((answer(b'{"jwtToken": "j-1"}'),), tls=context)


@pytest.mark.report(94)
async def test_an_authority_of_ones_own_is_given_by_the_factory(
    https: RawServer, authority: trustme.CA
) -> None:
    """With the CA in the factory's client both calls work over https."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    asker = Asker(https.base_url, http_client=lambda: httpx.AsyncClient(verify=context))

    assert isinstance(await asker.connect(), Issued)
    assert isinstance(await asker.refresh(), Issued)


async def test_a_strange_certificate_is_refused(https: RawServer) -> None:
    """The default client sends nothing to a server whose certificate it can't check."""
    outcome = await Asker(https.base_url).connect(attempts=1)

    assert isinstance(outcome, Unavailable)
    assert outcome.untouched
    assert outcome.reason.startswith("ConnectError")
    assert https.requests == []


async def test_a_certificate_problem_is_named(https: RawServer) -> None:
    """The reason of a refused certificate says that it is about the certificate."""
    outcome = await Asker(https.base_url).connect(attempts=1)

    assert isinstance(outcome, Unavailable)
    assert "certificate" in outcome.reason.lower()


async def test_an_authority_in_the_environment_is_believed(
    https: RawServer,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SSL_CERT_FILE names the CAs of the default client, as it does for httpx."""
    with authority.cert_pem.tempfile() as bundle:
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
        # One that has not built its context yet.
        outcome = await Asker(https.base_url, library=HttpLibrary(httpx)).connect()

    assert isinstance(outcome, Issued)


async def test_the_tls_context_is_built_once(
    serve: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten calls of five exchanges read the CA bundle once."""
    server = serve((answer(b'{"jwtToken": "j-1"}'),))
    build, built = ssl.create_default_context, 0

    def count(**options: Any) -> ssl.SSLContext:
        nonlocal built
        built += 1
        return build(**options)

    monkeypatch.setattr(ssl, "create_default_context", count)
    library = HttpLibrary(httpx)
    for _ in range(5):
        asker = Asker(server.base_url, library=library)
        await asker.connect()
        await asker.refresh()

    assert len(server.requests) == 10
    assert built == 1


async def test_plain_http_to_a_tls_port_is_a_typed_failure(https: RawServer) -> None:
    """A scheme that does not fit the port gives a failure and not a crash."""
    plain = https.base_url.replace("https", "http")
    outcome = await Asker(plain).connect(attempts=1)

    assert isinstance(outcome, Unavailable)


async def test_tls_to_a_plain_port_is_a_typed_failure(sandbox: Sandbox) -> None:
    """An https base_url of a server that speaks plain HTTP gives a failure before anything is sent."""
    secure = sandbox.base_url.replace("http", "https")
    outcome = await Asker(secure).connect(attempts=1)

    assert isinstance(outcome, Unavailable)
    assert outcome.untouched
