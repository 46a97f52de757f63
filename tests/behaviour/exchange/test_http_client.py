"""What the user's http_client may return, and the errors otherwise."""

from __future__ import annotations

import errno
import gzip
import socket
import ssl
import threading

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.lowlevel
import httpx
import pytest

from taxizer_async._core.exchange import Issued, Malformed, Misconfigured, Unavailable
from taxizer_async._http.library import HttpLibrary
from taxizer_async._http.response import MAX_ANSWER
from taxizer_async.testing import Sandbox
from tests.support.limits import HANG
from tests.support.threads import refuse_threads
from tests.support.token_calls import Asker


class SecretInMessageError(Exception):
    def __init__(self) -> None:
        super().__init__("cnry-secret")


async def closed() -> httpx.AsyncClient:
    client = httpx.AsyncClient()
    await client.aclose()
    return client


async def test_each_exchange_gets_a_client_that_is_closed_after_it(sandbox: Sandbox) -> None:
    """The factory is called once per request, and its clients are closed at the end."""
    clients: list[httpx.AsyncClient] = []

    def http_client() -> httpx.AsyncClient:
        clients.append(httpx.AsyncClient())
        return clients[-1]

    asker = Asker(sandbox.base_url, http_client=http_client)
    await asker.connect()
    await asker.refresh(sandbox.issued_refresh_tokens[-1])

    assert len(clients) == 2
    assert all(client.is_closed for client in clients)


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "NoneType"),
        ("https://proxy.example", "str"),
        (httpx.Client(), "Client"),
        (httpx.AsyncClient, "type"),
    ],
)
async def test_another_type_is_a_misconfiguration(
    sandbox: Sandbox, returned: Any, problem: str
) -> None:
    """Anything but an AsyncClient is refused, with the name of its type, and nothing is sent."""
    outcome = await Asker(sandbox.base_url, http_client=lambda: returned).connect()

    assert outcome == Misconfigured(
        reason=f"http_client returned {problem}: it must return a fresh httpx.AsyncClient for each exchange"
    )
    assert sandbox.counters.connects == 0


async def test_an_async_factory_is_a_misconfiguration(sandbox: Sandbox) -> None:
    """A coroutine function is refused as a factory."""
    factory: Any = closed
    outcome = await Asker(sandbox.base_url, http_client=factory).connect()

    assert isinstance(outcome, Misconfigured)
    assert "coroutine" in outcome.reason


async def test_a_closed_client_is_a_misconfiguration(sandbox: Sandbox) -> None:
    """A closed client is refused."""
    client = await closed()
    outcome = await Asker(sandbox.base_url, http_client=lambda: client).connect()

    assert isinstance(outcome, Misconfigured)
    assert "closed" in outcome.reason


async def test_the_same_client_twice_is_a_misconfiguration(sandbox: Sandbox) -> None:
    """A factory that always returns the same client works once; then the error says what is wrong."""
    client = httpx.AsyncClient()
    asker = Asker(sandbox.base_url, http_client=lambda: client)

    assert isinstance(await asker.connect(), Issued)
    again = await asker.connect()
    assert isinstance(again, Misconfigured)
    assert "fresh" in again.reason


async def test_a_client_that_is_in_use_is_a_misconfiguration(sandbox: Sandbox) -> None:
    """An open client of the user is refused, stays open and keeps its event hooks."""

    async def note(_: object) -> None: ...

    async with httpx.AsyncClient(event_hooks={"request": [note]}) as client:
        outcome = await Asker(sandbox.base_url, http_client=lambda: client).connect(attempts=1)

        assert not client.is_closed
        assert client.event_hooks["request"] == [note]
    assert isinstance(outcome, Misconfigured)
    assert "fresh" in outcome.reason
    assert sandbox.counters.connects == 0


@pytest.mark.parametrize("raised", [SecretInMessageError(), SystemExit("cnry")], ids=repr)
async def test_what_a_factory_raises_is_told_by_its_class(
    sandbox: Sandbox, raised: BaseException
) -> None:
    """The message of a factory's exception may contain a secret, and is not repeated."""

    def http_client() -> httpx.AsyncClient:
        raise raised

    outcome = await Asker(sandbox.base_url, http_client=http_client).connect()

    assert isinstance(outcome, Misconfigured)
    assert type(raised).__name__ in outcome.reason
    assert "cnry" not in outcome.reason


@pytest.mark.invariant(22)
@pytest.mark.report(130)
@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError(errno.EMFILE, "cnry"), "OSError (Too many open files)"),
        (OSError(errno.ENFILE, "cnry"), "OSError (Too many open files in system)"),
        (FileNotFoundError(errno.ENOENT, "cnry"), "FileNotFoundError (No such file or directory)"),
        (ssl.SSLError("cnry"), "SSLError (TLS)"),
        (MemoryError("cnry"), "MemoryError"),
        (SystemError("cnry"), "SystemError"),
        (RuntimeError("can't start new thread"), "RuntimeError (no thread can be started"),
    ],
    ids=repr,
)
async def test_what_passes_is_no_misconfiguration(
    sandbox: Sandbox, raised: Exception, told: str
) -> None:
    """A factory that lacks a descriptor, a thread, memory or a file for a moment is asked again."""
    problems = [raised]

    def http_client() -> httpx.AsyncClient:
        if problems:
            raise problems.pop()
        return httpx.AsyncClient()

    asker = Asker(sandbox.base_url, http_client=http_client)
    outcome = await asker.connect(attempts=1)
    problems.append(raised)

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason.startswith(f"http_client raised {told}")
    assert "cnry" not in outcome.reason
    assert isinstance(await asker.connect(attempts=2), Issued)


@pytest.mark.invariant(23)
@pytest.mark.report(133)
async def test_factories_that_hang_are_bounded(sandbox: Sandbox) -> None:
    """A factory that hangs is abandoned in time, and no more than four calls hang at once."""
    gate, calls = threading.Event(), 0

    def http_client() -> httpx.AsyncClient:
        nonlocal calls
        calls += 1
        assert gate.wait(HANG)
        return httpx.AsyncClient()

    asker = Asker(sandbox.base_url, http_client=http_client, attempt_timeout=0.5)
    try:
        outcomes = [await asker.connect(attempts=1) for _ in range(6)]
    finally:
        gate.set()

    told = ["http_client returned nothing within 0.5 s"] * 4
    told += ["http_client returned nothing in 4 earlier calls"] * 2
    assert outcomes == [Unavailable(reason=reason, not_processed=True) for reason in told]
    assert calls == 4


@pytest.mark.invariant(23)
@pytest.mark.report(131)
@pytest.mark.parametrize("given", [False, True], ids=["default", "http_client"])
async def test_a_client_is_made_in_the_loop_if_no_thread_can_be_started(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """A login works even if no thread can be started."""
    refuse_threads(monkeypatch)
    http_client = httpx.AsyncClient if given else None
    asker = Asker(sandbox.base_url, library=HttpLibrary(httpx), http_client=http_client)

    assert isinstance(await asker.connect(attempts=1), Issued)


@pytest.mark.report(130)
async def test_a_host_name_that_can_not_be_looked_up_for_want_of_a_thread(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lack of a thread is reported, may be retried, and leaves the refresh token unspent."""

    def refuse(*_: object, **_more: object) -> None:
        raise RuntimeError("can't start new thread")

    asker = Asker(sandbox.base_url.replace("127.0.0.1", "localhost"))
    # Event loops look names up in a thread; trio may have an idle one.
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    outcome = await asker.refresh()

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert "no thread can be started" in outcome.reason


@pytest.mark.invariant(22)
@pytest.mark.parametrize(
    ("raised", "not_processed"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ConnectTimeout("slow"), True),
        (httpx.PoolTimeout("full"), True),
        (httpx.ReadTimeout("slow"), False),
        (httpx.RemoteProtocolError("cnry"), False),
        (ValueError("cnry"), False),
        (SecretInMessageError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_transport_raises_is_a_typed_failure(
    raised: Exception, not_processed: bool
) -> None:
    """No exception of a transport leaves the call, and its text is not repeated."""

    class FailingTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            raise raised

    asker = Asker(
        "https://api.example", http_client=lambda: httpx.AsyncClient(transport=FailingTransport())
    )
    outcome = await asker.refresh()

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed is not_processed
    assert outcome.reason.startswith(type(raised).__name__)
    assert "cnry" not in outcome.reason


@pytest.mark.parametrize("left", [False, True])
async def test_a_request_that_is_disturbed_is_sent_once_more_unless_it_has_left(left: bool) -> None:
    """What broke off before the request was sent is tried again at once; later it may have arrived."""
    requests = 0

    class DisturbedTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal requests
            requests += 1
            for event in ("connection.connect_tcp", *["http11.send_request_headers"] * left):
                await request.extensions["trace"](f"{event}.started", {})
            raise RuntimeError("cnry")

    asker = Asker(
        "https://api.example", http_client=lambda: httpx.AsyncClient(transport=DisturbedTransport())
    )
    outcome = await asker.refresh()

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed is not left
    assert requests == (1 if left else 2)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_of_a_test_transport_is_read(encoding: str) -> None:
    """Transports for tests, which hand over whole answers, work like a network."""
    token = b'{"jwtToken": "j-1"}'
    content = gzip.compress(token) if encoding == "gzip" else token

    class WholeAnswers(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            headers = {"Content-Encoding": encoding}
            return httpx.Response(200, headers=headers, content=content, request=request)

    asker = Asker(
        "https://api.example", http_client=lambda: httpx.AsyncClient(transport=WholeAnswers())
    )

    assert isinstance(await asker.connect(attempts=1), Issued)


async def test_an_oversized_answer_of_a_users_transport_is_left() -> None:
    """A body over the limit is abandoned at once, even if the transport fails to close it."""
    sent = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 16 * MAX_ANSWER:
                await anyio.lowlevel.checkpoint()
                sent += 65536
                yield b" " * 65536

    class EndlessTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=Endless(), request=request)

    asker = Asker(
        "https://api.example", http_client=lambda: httpx.AsyncClient(transport=EndlessTransport())
    )
    outcome = await asker.connect(attempts=1)

    assert outcome == Malformed(status_code=200, excerpt="more than 1 MiB")
    assert sent <= 2 * MAX_ANSWER


async def test_a_scheme_that_no_transport_speaks_is_a_typed_failure(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy variable with a wrong scheme is a mistake of the user, and is not retried."""
    monkeypatch.setenv("HTTP_PROXY", "gopher://127.0.0.1:1")
    asker = Asker(sandbox.base_url)
    outcome = await asker.connect()

    assert isinstance(outcome, Misconfigured)
    assert asker.clock.slept == []


async def test_a_default_query_of_the_clients_is_kept(
    sandbox: Sandbox, factory: Callable[..., Callable[[], httpx.AsyncClient]]
) -> None:
    """Parameters and headers for a gateway come from the factory's client."""
    asker = Asker(sandbox.base_url, http_client=factory(params={"tenant": "7"}))

    assert isinstance(await asker.connect(), Issued)


@pytest.fixture(name="factory")
def _factory() -> Callable[..., Callable[[], httpx.AsyncClient]]:
    return lambda **options: lambda: httpx.AsyncClient(**options)
