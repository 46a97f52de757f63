"""No server can hold a call beyond its deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest

from taxizer_async._core.exchange import Issued, Malformed, Unavailable
from taxizer_async._http.token_endpoints import HttpExchange
from taxizer_async.testing import Fault, Sandbox
from tests.support.limits import HANG
from tests.support.raw_server import Script, Serve, answer, hang, reset, trickle
from tests.support.token_calls import Asker


OPEN = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'{"jwtToken": "j-1"}'
#: Seconds per attempt.
PATIENCE = 0.3
ROUNDING = 1e-6


@attrs.frozen
class Attempt:
    """The start and the deadline of an attempt."""

    began: float
    deadline: float


@pytest.fixture(name="attempts")
def _attempts(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """Record each attempt before it waits for anything, as its time may soon be over."""
    attempts: list[Attempt] = []
    send = HttpExchange._send

    async def note_and_send(*arguments: Any) -> None:
        attempts.append(Attempt(anyio.current_time(), anyio.current_effective_deadline()))
        await send(*arguments)

    monkeypatch.setattr(HttpExchange, "_send", note_and_send)
    return attempts


@pytest.mark.invariant(22)
@pytest.mark.report(36, 37)
@pytest.mark.parametrize(
    "script",
    [
        (hang,),
        (b"HTTP/1.1 200 OK\r\nCont", hang),
        (OPEN, hang),
        (OPEN, b'{"jwt', hang),
        (OPEN, trickle),
        (b"HTTP/1.1 200 OK\r\nX: ", trickle),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", hang),
    ],
    ids=["silent", "head", "no-body", "body", "slow-body", "slow-head", "103"],
)
@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_stalled_answer_ends_with_the_deadline(
    serve: Serve, script: Script, call: str, attempts: list[Attempt]
) -> None:
    """A server that hangs or dribbles gives a typed failure in time, and a refresh is not retried."""
    server = serve(script)
    asker = Asker(server.base_url, attempt_timeout=PATIENCE)
    earliest = anyio.current_time()
    with anyio.fail_after(HANG):
        outcome = await (asker.connect(attempts=2) if call == "connect" else asker.refresh())

    assert isinstance(outcome, Unavailable)
    assert not outcome.not_processed
    assert outcome.status_code is None
    assert len(attempts) == (2 if call == "connect" else 1)
    assert len(asker.clock.slept) == len(attempts) - 1
    for attempt in attempts:
        # Counted from its own start, which is between the end of the last attempt and now.
        assert earliest - ROUNDING <= attempt.deadline - PATIENCE <= attempt.began + ROUNDING
        earliest = attempt.deadline


@pytest.mark.invariant(22)
@pytest.mark.report(36, 37)
async def test_the_deadline_bounds_all_attempts_together(
    sandbox: Sandbox, attempts: list[Attempt]
) -> None:
    """Two attempts that fail and one that hangs share a deadline, after which none begins."""
    sandbox.fail("connect", Fault.status(503), times=2)
    sandbox.fail("connect", Fault.hang())
    asker = Asker(sandbox.base_url, attempt_timeout=10)
    began = anyio.current_time()
    with anyio.fail_after(HANG):
        outcome = await asker.connect(seconds=2)

    assert isinstance(outcome, Unavailable)
    assert outcome.status_code is None
    assert asker.clock.slept == [0.25, 0.5]
    # The pauses count, although they take no time here; without them each attempt would have 10 s.
    expected = [began + 2, began + 1.75, began + 1.25]
    assert [attempt.deadline for attempt in attempts] == pytest.approx(expected, abs=4)
    assert anyio.current_time() >= attempts[-1].deadline


@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_call_past_its_deadline_sends_nothing(
    sandbox: Sandbox, asker: Asker, call: str
) -> None:
    """With no time left nothing is sent, and the reason has no negative seconds."""
    outcome = await (asker.connect if call == "connect" else asker.refresh)(seconds=-1.0)

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert sandbox.counters.exchanges == 0
    assert "-" not in outcome.reason
    assert asker.clock.slept == []


@pytest.mark.invariant(22)
async def test_with_hardly_any_time_left_no_other_attempt_begins(
    sandbox: Sandbox, asker: Asker, attempts: list[Attempt]
) -> None:
    """What the last attempt came to is not hidden by one that would be cut short at once."""
    sandbox.fail("connect", Fault.status(503))
    outcome = await asker.connect(seconds=0.25 + 0.09)

    assert isinstance(outcome, Unavailable)
    assert outcome.status_code == 503
    assert asker.clock.slept == []
    assert len(attempts) == 1


async def test_the_last_second_is_used(asker: Asker, attempts: list[Attempt]) -> None:
    """A call that has less than a second left is made."""
    await asker.refresh(seconds=0.9)

    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", Unavailable),
        ("403 Forbidden", Unavailable),
        ("500 Internal Server Error", Unavailable),
        ("404 Not Found", Malformed),
    ],
)
@pytest.mark.parametrize("ending", [hang, reset])
async def test_a_failures_status_is_enough(
    serve: Serve, status: str, kind: type, ending: Callable[..., None]
) -> None:
    """A failing status counts even if its body never ends or breaks off."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: 1000\r\n\r\nno".encode()
    server = serve((head, ending))
    outcome = await Asker(server.base_url, attempt_timeout=1.0).connect(attempts=1)

    assert isinstance(outcome, kind)
    assert getattr(outcome, "status_code", None) == int(status[:3])


@pytest.mark.invariant(19)
@pytest.mark.parametrize("ending", [hang, reset, trickle])
@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_token_in_an_unfinished_answer_does_not_count(
    serve: Serve, ending: Callable[..., None], call: str
) -> None:
    """An unfinished answer does not count, even with a whole token in it: more may follow."""
    whole = CHUNKED + b"13\r\n" + TOKEN + b"\r\n"
    server = serve((whole, ending))
    asker = Asker(server.base_url, attempt_timeout=1.0)
    outcome = await (asker.connect(attempts=1) if call == "connect" else asker.refresh())

    assert isinstance(outcome, Unavailable)
    assert not outcome.not_processed


async def test_a_server_that_needs_time_is_given_it(serve: Serve) -> None:
    """Informational answers before the real one do not count."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    server = serve((hints + answer(TOKEN),))

    assert isinstance(await Asker(server.base_url).connect(), Issued)


@pytest.mark.parametrize("call", ["connect", "refresh"])
async def test_a_call_without_time_says_so(asker: Asker, sandbox: Sandbox, call: str) -> None:
    """A call that begins at its deadline blames neither the server nor other logins, and sends nothing."""
    outcome = await getattr(asker, call)(seconds=0.0)

    assert isinstance(outcome, Unavailable)
    assert outcome.not_processed
    assert outcome.reason == "there was no time left to ask it"
    assert sandbox.counters.exchanges == 0
