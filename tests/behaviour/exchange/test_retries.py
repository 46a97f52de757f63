"""When a login is retried; a refresh never is."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from taxizer_async._core.exchange import Issued, Malformed, Refused, Unavailable
from taxizer_async.testing import Fault, Sandbox
from tests.support.raw_server import Serve, answer
from tests.support.token_calls import Asker


TRANSIENT = [
    Fault.status(408),
    Fault.status(429),
    Fault.status(500),
    Fault.status(502),
    Fault.status(503),
    Fault.status(504),
    Fault.status(599),
    Fault.reset(),
    Fault.drop_after_processing(),
    Fault.truncate(),
]


def name(fault: Fault) -> str:
    return str(fault.code) if fault.kind == "answer" else fault.kind


@pytest.mark.invariant(22)
@pytest.mark.parametrize("fault", TRANSIENT, ids=name)
async def test_connect_is_repeated_after_a_transient_failure(
    sandbox: Sandbox, asker: Asker, fault: Fault
) -> None:
    """Connect succeeds at the fourth attempt, with growing waits between the attempts."""
    sandbox.fail("connect", fault, times=3)
    outcome = await asker.connect()

    assert isinstance(outcome, Issued)
    assert sandbox.counters.connects == 4
    assert asker.clock.slept == [0.25, 0.5, 1.0]


@pytest.mark.invariant(22)
@pytest.mark.report(116)
@pytest.mark.parametrize(
    "page",
    [
        answer(b"<html>Blocked", status="400 Bad Request"),
        answer(b"<html>Blocked", status="403 Forbidden"),
        answer(b"", status="401 Unauthorized"),
        answer(b"<html>Not Found", status="404 Not Found"),
        answer(b"", status="405 Method Not Allowed"),
        answer(b"", "Location: /sorry", status="302 Found"),
        answer(b"<html>Back soon"),
        answer(b'{"jwtToken": "j'),
        answer(b""),
    ],
    ids=["400", "403", "401", "404", "405", "302", "200", "cut-off", "empty"],
)
async def test_connect_is_repeated_after_a_page_that_is_not_the_apis(
    serve: Serve, page: bytes
) -> None:
    """Passing errors of a proxy, a gateway or a firewall cost no login."""
    server = serve(*[(page,)] * 3, (answer(b'{"jwtToken": "j"}'),))
    asker = Asker(server.base_url)

    assert isinstance(await asker.connect(), Issued)
    assert len(server.requests) == 4
    assert asker.clock.slept == [0.25, 0.5, 1.0]


@pytest.mark.invariant(22)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "422 Unprocessable"])
@pytest.mark.parametrize("body", [b"{}", b"null", b'{"jwtToken": null}', b"[1]"], ids=repr)
async def test_an_undocumented_answer_of_the_apis_is_final(
    serve: Serve, body: bytes, status: str
) -> None:
    """JSON without a token is the API's own answer, and is not retried."""
    server = serve((answer(body, status=status),))
    outcome = await Asker(server.base_url).connect()

    assert isinstance(outcome, Malformed)
    assert len(server.requests) == 1


@pytest.mark.invariant(22)
@pytest.mark.parametrize("fault", TRANSIENT, ids=name)
async def test_attempts_end_when_no_more_are_wanted(
    sandbox: Sandbox, asker: Asker, fault: Fault
) -> None:
    """After each failure Connect asks whether to go on; if not, it returns the last failure."""
    sandbox.fail("connect", fault)
    outcome = await asker.connect(attempts=2)

    assert isinstance(outcome, Unavailable)
    assert outcome.status_code == (fault.code if fault.kind == "answer" else None)
    assert sandbox.counters.connects == 2
    assert asker.clock.slept == [0.25]


@pytest.mark.invariant(22)
async def test_connect_tries_until_the_time_is_over(sandbox: Sandbox, asker: Asker) -> None:
    """The pauses double up to 4 s, and none would end after the deadline."""
    sandbox.fail("connect", Fault.status(500), times=10)
    sandbox.fail("connect", Fault.status(503))
    outcome = await asker.connect(seconds=31.5)

    assert isinstance(outcome, Unavailable)
    assert outcome.status_code == 503
    assert sandbox.counters.connects == 11
    assert asker.clock.slept == [0.25, 0.5, 1.0, 2.0, *[4.0] * 6]


@pytest.mark.invariant(9)
@pytest.mark.parametrize("fault", TRANSIENT, ids=name)
async def test_a_refresh_is_one_attempt(sandbox: Sandbox, asker: Asker, fault: Fault) -> None:
    """AppRefreshToken is called once, and only a 429 means that the refresh token is unspent."""
    await asker.connect()
    sandbox.fail("refresh", fault, times=1)
    outcome = await asker.refresh(sandbox.issued_refresh_tokens[-1])

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed is (fault.code == 429)
    assert sandbox.counters.refreshes == 1
    assert asker.clock.slept == []


@pytest.mark.report(47)
async def test_a_refresh_without_a_connection_is_untouched(sandbox: Sandbox, asker: Asker) -> None:
    """A refresh token that never left is reported as not processed, and not sent again either."""
    sandbox.stop()
    outcome = await asker.refresh()

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason.startswith("ConnectError")
    assert asker.clock.slept == []


@pytest.mark.report(47)
async def test_refused_connections_are_tried_again(sandbox: Sandbox, asker: Asker) -> None:
    """Connect retries refused connections until no more is wanted."""
    sandbox.stop()
    outcome = await asker.connect(attempts=4)

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason.startswith("ConnectError")
    assert asker.clock.slept == [0.25, 0.5, 1.0]


@pytest.mark.invariant(22)
@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_refusal_is_final(sandbox: Sandbox, asker: Asker, status: int, call: str) -> None:
    """400, 401 and 403 are final: nothing is retried."""
    sandbox.fail(call, Fault.status(status))
    outcome = await (asker.connect() if call == "connect" else asker.refresh())

    assert outcome == Refused(status_code=status)
    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(22)
async def test_jitter_shortens_waits() -> None:
    """Jitter shortens the waits, so that a fleet does not retry in step."""
    asker = Asker("http://127.0.0.1:1", jitter=0.5)
    await asker.connect(attempts=4)

    assert asker.clock.slept == [0.1875, 0.375, 0.75]


@pytest.mark.invariant(22)
@pytest.mark.report(74, 75)
@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("2", 2.0),
        ("31", 30.0),
        ("9" * 400, 30.0),
        ("0.1", 0.25),
        ("soon", 0.25),
        (formatdate(1_800_000_007, usegmt=True), 7.0),
    ],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_honoured_in_any_form(
    serve: Serve, status: str, value: str, wait: float
) -> None:
    """Retry-After lengthens the wait up to 30 s by the server's clock; any value is safe."""
    date = formatdate(1_800_000_000, usegmt=True)
    later = answer(b"", f"Retry-After: {value}", f"Date: {date}", status=status)
    server = serve((later,), (answer(b'{"jwtToken": "j"}'),))
    asker = Asker(server.base_url, retry_after_limit=30.0)
    outcome = await asker.connect(seconds=60)

    assert isinstance(outcome, Issued)
    assert asker.clock.slept == [pytest.approx(wait)]


async def test_a_date_in_retry_after_is_read_by_our_clock_if_the_server_tells_no_time(
    serve: Serve,
) -> None:
    """Without a Date header, a date in Retry-After is compared with our own clock."""
    asker_ahead = 1_000_000.0
    asker = Asker("http://127.0.0.1:1", ahead=asker_ahead)
    moment = formatdate(asker.clock.wall() + 9, usegmt=True)
    server = serve((answer(b"", f"Retry-After: {moment}", status="503 Later"),))
    asker = Asker(server.base_url, ahead=asker_ahead)
    outcome = await asker.connect(attempts=1)

    assert isinstance(outcome, Unavailable)
    assert outcome.retry_after == pytest.approx(9, abs=1.5)


@pytest.mark.invariant(22)
async def test_the_last_failure_says_when_to_come_again(serve: Serve) -> None:
    """A wait that would pass the deadline is not begun: the failure reports it instead."""
    server = serve((answer(b"", "Retry-After: 25", status="503 Service Unavailable"),))
    asker = Asker(server.base_url)
    outcome = await asker.connect(seconds=20)

    assert outcome == Unavailable(
        reason="answered 503 Service Unavailable", status_code=503, retry_after=25.0
    )
    assert len(server.requests) == 1
    assert asker.clock.slept == []
