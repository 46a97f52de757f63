from __future__ import annotations

import socket
import time

import httpx
import pytest

from taxizer_async.testing import Fault, Sandbox
from tests.support.limits import HANG

from .caller import REGISTER, Caller


def test_a_status_fault_answers_as_it_was_made(sandbox: Sandbox, caller: Caller) -> None:
    """A status fault has its code, headers, body and type, and issues nothing."""
    headers = {"Retry-After": "7", "Date": "yesterday"}
    sandbox.fail("connect", Fault.status(503, headers=headers, body="<p>down"))
    answer = caller.connect()

    assert (answer.status_code, answer.text) == (503, "<p>down")
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers.get_list("Date") == ["yesterday"]
    assert answer.headers["Content-Type"] == "text/plain"
    assert sandbox.issued_jwts == ()
    assert sandbox.counters.connects == 1
    assert sandbox.counters.connects_ok == 0


def test_a_status_fault_without_a_body_looks_like_the_apis_errors(
    sandbox: Sandbox, caller: Caller
) -> None:
    """A status fault without a body answers with its status as JSON."""
    for code, title in ((400, "Bad Request"), (599, "Unknown")):
        sandbox.fail("connect", Fault.status(code), times=1)
        answer = caller.connect()
        assert answer.json() == {"title": title, "status": code}
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("code", [204, 304])
def test_a_status_that_has_no_body_gets_none(sandbox: Sandbox, caller: Caller, code: int) -> None:
    """A status fault of 204 or 304 is an answer without a body, and the connection lives on."""
    sandbox.fail("connect", Fault.status(code), times=1)
    answer = caller.connect()

    assert (answer.status_code, answer.content) == (code, b"")
    assert caller.connect().status_code == 200


def test_a_junk_fault_sends_any_bytes(sandbox: Sandbox, caller: Caller) -> None:
    """A junk fault sends its bytes with a 200, or with another status and type."""
    sandbox.fail("connect", Fault.junk(b"\xff{"), times=1)
    sandbox.fail("connect", Fault.junk(b"", headers={"content-type": "image/gif"}))
    first, second = caller.connect(), caller.connect()

    assert (first.status_code, first.content) == (200, b"\xff{")
    assert first.headers["Content-Type"] == "application/json"
    assert second.headers.get_list("Content-Type") == ["image/gif"]
    assert sandbox.counters.connects_ok == 0


@pytest.mark.parametrize("code", [0, 101, 199, 600])
def test_a_fault_cannot_have_an_impossible_status(code: int) -> None:
    """A status that no answer can have is refused when the fault is created."""
    with pytest.raises(ValueError, match="200 to 599"):
        Fault.status(code)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, 'Bearer error="invalid_token"'),
        ("Bearer error=insufficient_scope", "Bearer error=insufficient_scope"),
        ("", None),
    ],
)
def test_an_unauthorized_fault_refuses_a_good_token(
    sandbox: Sandbox, caller: Caller, given: str | None, sent: str | None
) -> None:
    """A good token can be refused, with any challenge or none, and counts as a 401."""
    jwt = caller.jwt()
    sandbox.fail("resource", Fault.unauthorized(given))
    answer = caller.register(jwt)

    assert answer.status_code == 401
    assert answer.headers.get("WWW-Authenticate") == sent
    assert sandbox.counters.unauthorized == 1


def test_a_reset_aborts_the_connection(sandbox: Sandbox, caller: Caller) -> None:
    """A reset reaches the client as RST, and nothing is processed."""
    sandbox.fail("connect", Fault.reset())
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=HANG) as raw:
        raw.sendall(b"POST /v1/Auth/Connect HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)

    with pytest.raises(httpx.ReadError):
        caller.connect()
    assert sandbox.issued_jwts == ()
    assert [entry.status for entry in sandbox.exchange_log] == [None, None]


def test_only_a_json_object_is_edited(sandbox: Sandbox, caller: Caller) -> None:
    """An edit leaves an answer alone that is not a JSON object."""
    sandbox.fail("resource", Fault.edit(a=1))
    answer = caller.get("/v1/redirect?to=/x", caller.jwt())

    assert (answer.status_code, answer.content) == (302, b"")


def test_a_hang_of_some_seconds_goes_on(sandbox: Sandbox, caller: Caller) -> None:
    """After a hang of some seconds the request is processed."""
    sandbox.fail("connect", Fault.hang(0.1))
    began = time.monotonic()

    assert caller.connect().status_code == 200
    assert time.monotonic() - began >= 0.1


def test_a_client_that_leaves_a_hang_is_not_processed(sandbox: Sandbox, caller: Caller) -> None:
    """A hung request ends when its client gives up, and issues nothing."""
    sandbox.fail("connect", Fault.hang())
    with pytest.raises(httpx.ReadTimeout):
        caller.connect(read_timeout=0.2)
    sandbox.heal()

    assert caller.connect().status_code == 200
    assert len(sandbox.issued_jwts) == 1
    assert [entry.status for entry in sandbox.exchange_log] == [None, 200]
    assert sandbox.counters.max_concurrent_exchanges == 1


def test_a_fault_lasts_for_its_times(sandbox: Sandbox, caller: Caller) -> None:
    """A fault for two requests meets two; then the next fault of the place follows."""
    sandbox.fail("connect", Fault.status(503), times=2)
    sandbox.fail("connect", Fault.status(429), times=1)

    assert [caller.connect().status_code for _ in range(4)] == [503, 503, 429, 200]


def test_a_fault_without_end_gives_way_to_the_next(sandbox: Sandbox, caller: Caller) -> None:
    """A fault without times lasts until another one is set."""
    sandbox.fail("connect", Fault.status(503))
    before = [caller.connect().status_code for _ in range(3)]
    sandbox.fail("connect", Fault.status(500), times=1)

    assert before == [503, 503, 503]
    assert [caller.connect().status_code for _ in range(2)] == [500, 200]


def test_a_path_goes_before_its_group(sandbox: Sandbox, caller: Caller) -> None:
    """A fault of an exact path is met there, and the group's everywhere else."""
    jwt = caller.jwt()
    sandbox.fail("resource", Fault.status(500))
    sandbox.fail(REGISTER, Fault.status(503))

    assert caller.register(jwt).status_code == 503
    assert caller.get("/v1/other", jwt).status_code == 500


def test_an_unknown_place_is_refused(sandbox: Sandbox) -> None:
    """A wrong place or number is an error at the call."""
    with pytest.raises(ValueError, match="where is"):
        sandbox.fail("conect", Fault.reset())
    with pytest.raises(ValueError, match="where is"):
        sandbox.heal("conect")
    with pytest.raises(ValueError, match="where is"):
        sandbox.hold("conect")
    with pytest.raises(ValueError, match="times is"):
        sandbox.fail("connect", Fault.reset(), times=0)
