"""Real TLS on loopback: which certificates are trusted, and the errors if they are not."""

from __future__ import annotations

import ssl

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import certifi
import httpx
import pytest
import trustme

from taxizer_async._auth.options import ClientOptions
from taxizer_async._core.exchange import Issued, Unavailable
from taxizer_async._http import library as _http_library
from taxizer_async._http.library import HttpLibrary
from tests.support.certificates import tls_contexts
from tests.support.raw_server import RawServer, Serve, answer
from tests.support.token_calls import PAIR, Asker


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="https")
def _https(serve: Serve, authority: trustme.CA) -> RawServer:
    return serve((answer(b'{"jwtToken": "j-1"}'),), tls=tls_contexts(authority)[0])


@pytest.mark.report(94)
async def test_an_authority_of_ones_own_is_given_by_the_factory(
    https: RawServer, authority: trustme.CA
) -> None:
    """With the CA in the factory's client both calls work over https."""
    _, context = tls_contexts(authority)
    asker = Asker(https.base_url, http_client=lambda: httpx.AsyncClient(verify=context))

    assert isinstance(await asker.connect(), Issued)
    assert isinstance(await asker.refresh(), Issued)


async def test_a_strange_certificate_is_refused(https: RawServer) -> None:
    """The default client sends nothing to a server with a certificate that it can't verify, and says why."""
    outcome = await Asker(https.base_url).connect(attempts=1)

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason.startswith("ConnectError")
    assert "certificate" in outcome.reason.lower()
    assert https.requests == []


async def test_an_authority_in_the_environment_is_believed(
    https: RawServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the trusted CAs of the default client, as it does for httpx."""
    with authority.cert_pem.tempfile() as bundle:
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
        # A process that has not made its context yet.
        outcome = await Asker(https.base_url, library=HttpLibrary(httpx)).connect()

    assert isinstance(outcome, Issued)


async def test_the_tls_context_is_built_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
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


@final
class _Replaced:
    """A server with a replaceable CA, and the bundle that its clients trust."""

    def __init__(self, serve: Serve, bundle: Path) -> None:
        self._certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.bundle = bundle
        self.replace()
        self.server = serve((answer(b'{"jwtToken": "j-1"}'),), tls=self._certificate)
        self.bundle.write_bytes(self.authority)

    def replace(self) -> None:
        """Give the server a certificate of a new CA, which `bundle` does not have."""
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").configure_cert(self._certificate)
        self.authority = authority.cert_pem.bytes()


@pytest.fixture(name="replaced")
def _replaced(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Replaced:
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return _Replaced(serve, bundle)


@pytest.fixture(name="make_asker", params=["default", "verify=True", "verify=path", "certifi"])
def _make_asker(
    request: pytest.FixtureRequest, replaced: _Replaced, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Asker]:
    if request.param in {"verify=path", "certifi"}:
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    if request.param == "certifi":
        monkeypatch.setattr(certifi, "where", lambda: str(replaced.bundle))

    def make_asker() -> Asker:
        library = HttpLibrary(httpx)
        options: dict[str, dict[str, Any]] = {
            "verify=True": {"verify": True},
            "verify=path": {"verify": str(replaced.bundle)},
        }
        given = options.get(request.param, {})
        factory = ClientOptions(library, PAIR, given).login_client()
        return Asker(replaced.server.base_url, library=library, http_client=factory)

    return make_asker


ignore_path = pytest.mark.filterwarnings("ignore:.verify=.str.. is deprecated:DeprecationWarning")


@pytest.mark.invariant(22)
@ignore_path
@pytest.mark.report(132)
@pytest.mark.parametrize("how", ["in place", "by a new file"])
async def test_a_replaced_bundle_is_believed_at_once(
    make_asker: Callable[[], Asker], replaced: _Replaced, tmp_path: Path, how: str
) -> None:
    """The login after a change of the bundle needs one attempt, and no restart."""
    asker = make_asker()
    assert isinstance(await asker.connect(attempts=1), Issued)
    replaced.replace()
    if how == "in place":
        replaced.bundle.write_bytes(replaced.authority)
    else:
        (tmp_path / "new.pem").write_bytes(replaced.authority)
        (tmp_path / "new.pem").replace(replaced.bundle)

    assert isinstance(await asker.connect(attempts=1), Issued)


@pytest.mark.invariant(22)
@ignore_path
@pytest.mark.report(132)
async def test_a_certificate_that_is_not_believed_has_the_bundle_read_anew(
    make_asker: Callable[[], Asker], replaced: _Replaced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that the file's metadata does not show costs one attempt."""
    asker = make_asker()
    assert isinstance(await asker.connect(attempts=1), Issued)
    monkeypatch.setattr(_http_library, "_stamp_of", len)
    asker = make_asker()
    assert isinstance(await asker.connect(attempts=1), Issued)
    replaced.replace()
    replaced.bundle.write_bytes(replaced.authority)

    assert isinstance(await asker.connect(attempts=2), Issued)
    assert asker.clock.slept == [0.25]


@pytest.mark.invariant(22)
@ignore_path
@pytest.mark.report(132)
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERT"], ids=["gone", "empty", "half"])
async def test_a_bundle_that_is_being_replaced_costs_no_login(
    make_asker: Callable[[], Asker], replaced: _Replaced, content: bytes | None
) -> None:
    """While the bundle can't be read the previous one is used; a first login is retried."""
    asker = make_asker()
    assert isinstance(await asker.connect(attempts=1), Issued)
    replaced.bundle.unlink()
    if content is not None:
        replaced.bundle.write_bytes(content)
    assert isinstance(await asker.connect(attempts=1), Issued)
    first = await make_asker().connect(attempts=1)
    replaced.replace()
    replaced.bundle.write_bytes(replaced.authority)

    assert isinstance(await asker.connect(attempts=1), Issued)
    assert isinstance(first, Unavailable)
    assert first.not_processed
    assert first.reason.startswith("no HTTP client could be made")


async def test_plain_http_to_a_tls_port_is_a_typed_failure(https: RawServer) -> None:
    """A scheme that does not match the port gives a typed failure."""
    plain = https.base_url.replace("https", "http")
    outcome = await Asker(plain).connect(attempts=1)

    assert isinstance(outcome, Unavailable)
