from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import threading
import time

import anyio
import httpx
import pytest

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from taxizer_async._core.models import Credentials
from taxizer_async.testing import Fault, Sandbox
from tests.support.limits import HANG

from .caller import Caller, in_thread


def test_a_stopped_sandbox_leaves_no_thread_and_no_port(sandbox: Sandbox) -> None:
    """A stopped sandbox has no thread, and its port refuses connections."""
    name = f"taxizer-sandbox-{sandbox.port}"
    running = name in {thread.name for thread in threading.enumerate()}
    sandbox.stop()

    assert running
    assert name not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.base_url)


def test_stop_waits_for_no_request(sandbox: Sandbox, caller: Caller) -> None:
    """Stopping ends hung, held, slow, streaming and idle connections at once."""
    jwt = caller.jwt()
    sandbox.fail("/v1/hung", Fault.hang())
    sandbox.hold("/v1/held")
    sandbox.connect_latency = 3600
    calls = [
        in_thread(lambda: caller.get("/v1/hung", jwt)),
        in_thread(lambda: caller.get("/v1/held", jwt)),
        in_thread(lambda: caller.get("/v1/stream", jwt)),
        in_thread(caller.connect),
    ]
    with socket.create_connection(("127.0.0.1", sandbox.port)) as silent:
        sandbox.wait_until(lambda c: (c.resources, c.connects) == (3, 2))
        began = time.monotonic()
        sandbox.stop()

        assert time.monotonic() - began < HANG / 2
        assert silent.recv(1) == b""
    for call in calls:
        assert isinstance(call.exception(HANG), httpx.TransportError)


def test_a_sandbox_that_is_stopped_twice_or_never_started_is_fine() -> None:
    """Stopping a stopped sandbox does nothing."""
    sandbox = Sandbox()
    sandbox.stop()
    with sandbox:
        sandbox.stop()

    assert "stopped" in repr(sandbox)


def test_a_sandbox_comes_back_on_its_port(sandbox: Sandbox, caller: Caller) -> None:
    """A restarted sandbox serves on the same port and knows its tokens."""
    jwt, base_url = caller.jwt(), sandbox.base_url
    sandbox.stop()
    sandbox.start()

    assert sandbox.base_url == base_url
    assert caller.register(jwt).status_code == 200


def test_a_gate_outlives_the_server(sandbox: Sandbox, caller: Caller) -> None:
    """A gate survives a restart, and can be released after it."""
    gate = sandbox.hold("connect")
    lost = in_thread(caller.connect)
    gate.wait_until(1)
    sandbox.stop()
    sandbox.start()
    held = in_thread(caller.connect)
    gate.wait_until(1)
    gate.release()

    assert isinstance(lost.exception(HANG), httpx.TransportError)
    assert held.result(HANG).status_code == 200


def test_it_cannot_be_started_twice(sandbox: Sandbox) -> None:
    """A second start of a running sandbox is an error."""
    with pytest.raises(RuntimeError, match="runs already"):
        sandbox.start()


def test_a_port_that_is_taken_is_an_error(sandbox: Sandbox) -> None:
    """A sandbox on a port in use fails at its start."""
    with pytest.raises(OSError, match=r"in use|only one usage"):
        Sandbox(port=sandbox.port).start()


def test_there_is_no_base_url_before_the_start() -> None:
    """A sandbox has no base_url before it has a port; asking for it is an error."""
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = Sandbox().base_url
    assert Sandbox(port=8080).base_url == "http://127.0.0.1:8080"


async def test_async_with_works_on_both_backends() -> None:
    """A sandbox can be entered from asyncio and from trio, and stops when cancelled."""
    sandbox = Sandbox()
    with anyio.CancelScope() as scope:
        async with sandbox, httpx.AsyncClient(base_url=sandbox.base_url) as client:
            assert (await client.get("/v1/x")).status_code == 401

            scope.cancel()
            await anyio.sleep_forever()

    assert "stopped" in repr(sandbox)


def test_two_sandboxes_know_nothing_of_each_other() -> None:
    """A token of one sandbox is refused by another."""
    with Sandbox() as one, Sandbox(client_secret="other") as other:
        with httpx.Client(base_url=one.base_url) as client:
            jwt = Caller(client).jwt()
        with httpx.Client(base_url=other.base_url) as client:
            assert Caller(client).register(jwt).status_code == 401
            assert Caller(client).connect().status_code == 400


def test_credentials_are_those_of_the_constructor() -> None:
    """The credentials are those of the arguments, and no repr shows the secret."""
    sandbox = Sandbox(client_id="me", client_secret="canary")
    credentials: Credentials = sandbox.credentials

    assert credentials.client_id == "me"
    assert credentials.client_secret.reveal() == "canary"
    assert "canary" not in repr(sandbox)


def test_a_client_that_leaves_in_mid_body_is_logged(sandbox: Sandbox) -> None:
    """A request with an unfinished body is counted, and is over when its client leaves."""
    with socket.create_connection(("127.0.0.1", sandbox.port)) as raw:
        raw.sendall(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
        sandbox.wait_until(lambda counters: counters.resources == 1)
    sandbox.wait_until(lambda _: len(sandbox.resource_log) == 1)

    assert sandbox.resource_log[0].status is None


def test_a_stream_goes_on_until_its_client_leaves(caller: Caller) -> None:
    """The stream sends chunk after chunk, and the server survives when the client leaves."""
    headers = {"Authorization": f"Bearer {caller.token()['jwtToken']}"}
    with caller.client.stream("GET", "/v1/stream", headers=headers) as answer:
        chunks = answer.iter_raw()

        assert [next(chunks) for _ in range(3)] == [b"chunk\n"] * 3
    assert caller.connect().status_code == 200


def test_no_answer_waits_for_an_acknowledgement(caller: Caller) -> None:
    """Answers on a kept connection come at once, as Nagle's algorithm is off."""
    jwt = caller.jwt()
    took = [caller.register(jwt).elapsed.total_seconds() for _ in range(30)]

    assert statistics.median(took) < 0.03


def test_bytes_that_are_not_http_are_refused(sandbox: Sandbox) -> None:
    """Bytes that are not HTTP are answered with 400, and the connection closes."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=HANG) as raw:
        raw.sendall(b"hello\r\n\r\n")

        assert raw.makefile("rb").read().startswith(b"HTTP/1.1 400")


def test_a_server_that_cannot_be_set_up_says_so_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`start` raises an error of the server's thread, and leaves nothing to stop."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no loop to be had")

    sandbox = Sandbox()
    monkeypatch.setattr("taxizer_async.testing._sandbox.server._new_loop", fail)
    with pytest.raises(RuntimeError, match="no loop to be had"):
        sandbox.start()

    monkeypatch.undo()
    with sandbox:
        assert "running" in repr(sandbox)


def test_uvicorn_has_what_the_server_builds_on() -> None:
    """A release of uvicorn that changes these internals fails here, before it confuses other tests."""
    state = ServerState()

    async def build() -> H11Protocol:
        config = Config(lambda *_: None, interface="asgi3", log_config=None)
        return H11Protocol(config, state, {"key": "value"})

    protocol = asyncio.run(build())

    assert (state.connections, state.tasks) == (set(), set())
    assert protocol.app_state == {"key": "value"}
    assert isinstance(protocol.access_log, bool)
    assert isinstance(protocol, asyncio.Protocol)


@pytest.mark.report(145)
def test_only_a_server_needs_the_extra() -> None:
    """Without uvicorn the rest of the module works, and starting a sandbox says what to install."""
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from taxizer_async.testing import ManualClock, Sandbox, check_token_store, token_response\n"
        "ManualClock().advance(1.0)\n"
        "print(token_response().keys() >= {'jwtToken'})\n"
        "Sandbox().start()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout) == (1, "True\n")
    assert 'ImportError: the sandbox needs uvicorn: pip install "taxizer-async[sandbox]"' in (
        run.stderr
    )
