"""What is httpx2's alone: its clients, its errors, and logins that go over it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys

from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trustme

from taxizer_async import (
    DEFAULT_BASE_URL,
    ConfigurationError,
    Credentials,
    RenewalPolicy,
    TokenEndpointUnavailableError,
)
from taxizer_async._auth.on_httpx import HTTPX
from taxizer_async._core.exchange import Issued, Malformed, Unavailable
from taxizer_async.httpx2 import HTTPX2, TaxizerAuth, TaxizerClient
from tests.behaviour.exchange.conftest import Asker
from tests.conftest import BACKENDS
from tests.support.forward_proxy import ForwardProxy
from tests.support.raw_server import RawServer, answer, flood, hang, reset


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from taxizer_async.testing import Sandbox


PAIR = Credentials("id", "secret")
ISSUING = (answer(b'{"jwtToken": "j-1"}'),)


@pytest.fixture(name="anyio_backend", params=BACKENDS)
def _anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(name="proxy")
def _proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy:
        yield proxy


@pytest.fixture(name="environment")
def _environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TAXIZER_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("TAXIZER_CLIENT_SECRET", "sandbox-secret")
    monkeypatch.setenv("TAXIZER_BASE_URL", sandbox.base_url)
    return monkeypatch


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (ISSUING, Issued),
        ((reset,), Unavailable),
        ((hang,), Unavailable),
        ((flood,), Unavailable),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",), Unavailable),
        ((b"junk\r\n\r\n",), Unavailable),
        ((answer(b"", "Location: /", status="302 Found"),), Malformed),
        ((answer(b" " * 1_100_000),), Malformed),
        ((answer(b"\x1f\x8b junk", "Content-Encoding: gzip"),), Malformed),
    ],
    ids=[
        "issued",
        "reset",
        "hang",
        "flood",
        "truncated",
        "no-http",
        "redirect",
        "too-long",
        "wrong-encoding",
    ],
)
async def test_each_answer_is_the_same_outcome_as_over_httpx(script: Any, kind: type) -> None:
    """Both libraries make the same of an answer, down to the text."""
    outcomes = []
    for library in (HTTPX2, HTTPX):
        with RawServer(script) as server:
            asker = Asker(server.base_url, library=library, attempt_timeout=1.5)
            outcomes.append(await asker.connect(attempts=1))

    ours, theirs = outcomes
    assert isinstance(ours, kind)
    assert type(ours) is type(theirs)
    if isinstance(ours, Unavailable):
        assert ours == theirs


@pytest.mark.parametrize(
    "way", ["closed", "full", "unknown-name", "tls", "proxy-refuses", "no-proxy"]
)
async def test_what_was_never_sent_is_known_as_over_httpx(way: str, sandbox: Sandbox) -> None:
    """A connection that could not be made leaves the refresh token good, and has the same reason."""
    with contextlib.ExitStack() as servers:
        make = _way_there(way, sandbox, servers)
        outcomes = []
        for library, module in ((HTTPX2, httpx2), (HTTPX, httpx)):
            base_url, client = make(module)
            asker = Asker(base_url, library=library, http_client=client, connect_timeout=0.2)
            outcomes.append(await asker.refresh())

    ours, theirs = outcomes
    assert isinstance(ours, Unavailable)
    assert ours.not_processed
    assert ours == theirs


def _way_there(
    way: str, sandbox: Sandbox, servers: contextlib.ExitStack
) -> Callable[[Any], tuple[str, Any]]:
    """Return what makes, for a library, the URL to ask and a client's factory."""
    if way == "closed":
        with RawServer(ISSUING) as gone:
            return lambda _: (gone.base_url, None)
    if way == "full":
        port = _full_port(servers)
        return lambda _: (f"http://127.0.0.1:{port}", None)
    if way == "unknown-name":
        return lambda _: ("https://taxizer.invalid", None)
    if way == "tls":
        return lambda _: (sandbox.base_url.replace("http", "https"), None)
    if way == "no-proxy":
        with RawServer(ISSUING) as gone:
            return lambda module: (
                sandbox.base_url,
                lambda: module.AsyncClient(proxy=gone.base_url),
            )
    proxy = servers.enter_context(ForwardProxy(refusal="407 Proxy Authentication Required"))
    return lambda module: (
        "https://api.example",
        lambda: module.AsyncClient(proxy=proxy.url),
    )


def _full_port(servers: contextlib.ExitStack) -> int:
    """Listen with a queue that is full, so that a connection is neither made nor refused."""
    listener = servers.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    waiting = servers.enter_context(socket.socket())
    waiting.connect(listener.getsockname())
    return int(listener.getsockname()[1])


async def test_logins_go_over_httpx2(sandbox: Sandbox) -> None:
    """A login is sent by a client of httpx2, and by none of httpx."""
    made: list[httpx2.AsyncClient] = []

    def make() -> httpx2.AsyncClient:
        made.append(httpx2.AsyncClient())
        return made[-1]

    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, http_client=make
    ) as client:
        answered = await client.get("/v1/x")

    assert isinstance(answered, httpx2.Response)
    assert answered.status_code == 200
    assert len(made) == 1
    assert made[0].is_closed


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (httpx.AsyncClient, "returned AsyncClient"),
        (httpx2.Client, "returned Client"),
        (lambda: None, "returned NoneType"),
    ],
)
async def test_http_client_returns_a_client_of_httpx2(
    sandbox: Sandbox, made: Any, complaint: str
) -> None:
    """What makes clients of another library is told which one is wanted."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url, http_client=made)
    with pytest.raises(ConfigurationError, match=rf"{complaint}.*fresh httpx2\.AsyncClient"):
        await auth.token()


async def test_a_proxy_of_the_client_is_the_logins_too(
    sandbox: Sandbox, proxy: ForwardProxy
) -> None:
    """A TaxizerClient with proxy= sends its logins that way."""
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, proxy=proxy.url
    ) as client:
        assert (await client.get("/v1/x")).status_code == 200

    assert [line.split(" ")[1] for line in proxy.lines] == [
        f"{sandbox.base_url}/v1/Auth/Connect",
        f"{sandbox.base_url}/v1/x",
    ]


async def test_verify_of_the_client_is_the_logins_too() -> None:
    """An authority of one's own holds for requests and logins; without it none is sent."""
    authority = trustme.CA()
    of_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(of_server)
    of_client = ssl.create_default_context()
    authority.configure_trust(of_client)
    with RawServer(ISSUING, tls=of_server) as server:
        async with TaxizerClient(PAIR, base_url=server.base_url, verify=of_client) as client:
            assert (await client.get("/v1/x")).status_code == 200
        once = RenewalPolicy(backoff=60.0)
        async with TaxizerClient(PAIR, base_url=server.base_url, policy=once) as client:
            with pytest.raises(TokenEndpointUnavailableError, match="certificate"):
                await client.get("/v1/x")

    assert [request.split(b" ")[1] for request in server.requests] == [
        b"/v1/Auth/Connect",
        b"/v1/x",
    ]


@pytest.mark.parametrize("option", ["transport", "mounts"])
async def test_a_login_needs_a_way_of_its_own(option: str) -> None:
    """With a transport or mounts it is unclear how to log in, and http_client makes it clear."""
    value = httpx2.AsyncHTTPTransport() if option == "transport" else {"all://": None}
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigurationError, match=rf"with {option}=.*httpx2\.AsyncClient"):
        TaxizerClient(PAIR, **options)

    async with TaxizerClient(PAIR, http_client=httpx2.AsyncClient, **options):
        pass


async def test_options_of_httpx2_reach_it(sandbox: Sandbox) -> None:
    """All else that httpx2.AsyncClient takes can be given, and nothing that it does not take."""
    async with TaxizerClient(
        sandbox.credentials, base_url=sandbox.base_url, headers={"X-Mine": "1"}, timeout=7
    ) as client:
        answered = await client.get("/v1/echo")
        assert client.timeout == httpx2.Timeout(7)

    assert answered.json()["headers"]["x-mine"] == "1"
    with pytest.raises(TypeError, match="time_out"):
        TaxizerClient(PAIR, time_out=3)  # type: ignore[call-arg]


@pytest.mark.usefixtures("environment")
async def test_the_environment_is_enough(sandbox: Sandbox) -> None:
    """With three variables set from_env needs no argument."""
    async with TaxizerClient.from_env() as client:
        assert (await client.get("/v1/x")).status_code == 200
    assert sandbox.counters.connects_ok == 1


async def test_an_incomplete_environment_is_told_at_once(
    environment: pytest.MonkeyPatch,
) -> None:
    """A missing variable is named; without TAXIZER_BASE_URL the documented host is used."""
    environment.delenv("TAXIZER_BASE_URL")
    async with TaxizerClient.from_env() as client:
        assert str(client.base_url).rstrip("/") == DEFAULT_BASE_URL
    environment.delenv("TAXIZER_CLIENT_ID")
    with pytest.raises(ConfigurationError, match="TAXIZER_CLIENT_ID"):
        TaxizerClient.from_env()


@pytest.mark.parametrize("other", [None, ("user", "password"), httpx2.BasicAuth("a", "b")])
async def test_another_kind_of_auth_is_refused(sandbox: Sandbox, other: Any) -> None:
    """The auth of a TaxizerClient can be exchanged for its like only."""
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    async with TaxizerClient(PAIR, base_url=sandbox.base_url) as client:
        client.auth = auth
        assert (await client.get("/v1/x")).status_code == 200
        with pytest.raises(ConfigurationError, match=r"use httpx2\.AsyncClient"):
            client.auth = other
        assert client.auth is auth
    with pytest.raises(ConfigurationError, match="brings its own auth"):
        TaxizerClient(PAIR, auth=other)  # type: ignore[call-arg]


def test_a_sync_client_is_told_of_the_async_one() -> None:
    """A sync httpx2.Client with this auth fails with an error that names httpx2.AsyncClient."""
    with (
        httpx2.Client(auth=TaxizerAuth(PAIR)) as client,
        pytest.raises(ConfigurationError, match=r"httpx2\.AsyncClient"),
    ):
        client.get("https://apistaging.taxizer.com/v1/x")


async def test_what_is_replayable_is_asked_of_httpx2(sandbox: Sandbox) -> None:
    """A stream that was read into memory is sent again, as its type is httpx2's own."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"invoice"

    async with TaxizerClient(sandbox.credentials, base_url=sandbox.base_url) as client:
        await client.get("/v1/x")
        sandbox.revoke()
        request = client.build_request("POST", "/v1/x", content=chunks())
        await request.aread()
        assert (await client.send(request)).status_code == 200

    assert [entry.body for entry in sandbox.resource_log[1:]] == [b"invoice"] * 2


def test_a_missing_extra_is_named() -> None:
    """Without httpx2 the import fails, and says what to install."""
    code = "import sys; sys.modules['httpx2'] = None; import taxizer_async.httpx2"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stderr.strip().endswith(
        'taxizer_async.httpx2 needs httpx2: pip install "taxizer-async[httpx2]"'
    )
