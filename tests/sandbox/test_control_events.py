from __future__ import annotations

import contextlib
import tracemalloc

import anyio
import httpx
import pytest

from taxizer_async.testing import Fault, Sandbox
from taxizer_async.testing._sandbox.events import EVENTS as KEPT
from taxizer_async.testing._sandbox.recorder import _Meter
from tests.support.limits import HANG

from .caller import CONNECT, REGISTER, Caller
from .events import EVENTS, following


STREAM = "taxizer_async.testing._sandbox.control.stream"


async def test_requests_are_told(sandbox: Sandbox, caller: Caller) -> None:
    """A login, a renewal, a 401 and any other request are events, with status, token and fault."""
    sandbox.lifetime = 60
    first = caller.token()
    second = caller.refresh(first["refreshToken"]).json()
    sandbox.fail("resource", Fault.status(500), times=1)
    caller.register(second["jwtToken"])
    caller.register("wrong")
    caller.register(second["jwtToken"])
    sandbox.fail("connect", Fault.reset(), times=1)
    with contextlib.suppress(httpx.TransportError):
        caller.connect()
    sandbox.reset_counters()
    async with following(sandbox) as stream:
        told = [frame for frame in await stream.until("reset") if "path" in frame.data]

    fields = ("status", "ok", "token", "fault")
    assert [(frame.kind, *(frame.data[name] for name in fields)) for frame in told] == [
        ("login", 200, True, 1, None),
        ("renewal", 200, True, 2, None),
        ("request", 500, False, 2, "answer"),
        ("unauthorized", 401, False, None, None),
        ("request", 200, True, 2, None),
        ("login", None, False, None, "reset"),
    ]
    assert (told[0].data["method"], told[0].data["path"]) == ("POST", CONNECT)
    assert told[0].data["ends_at"] - told[0].data["at"] == pytest.approx(60, abs=HANG)
    assert [frame.data["ends_at"] is None for frame in told] == [False, False, *[True] * 4]
    assert all(0 <= frame.data["seconds"] < HANG for frame in told)


async def test_acts_of_control_are_told(sandbox: Sandbox) -> None:
    """What is done to a sandbox is told in order, also if a test does it in Python."""
    sandbox.clock_offset = 5
    sandbox.clock_offset = 5
    sandbox.fail("connect", Fault.hang(), times=2)
    sandbox.heal()
    sandbox.revoke()
    sandbox.revoke_refresh_tokens()
    sandbox.expire(3)
    sandbox.reset()
    async with following(sandbox) as stream:
        told = await stream.until("reset")

    assert [(frame.kind, *list(frame.data.values())[1:]) for frame in told] == [
        ("setting", "clock_offset", 5),
        ("fail", "connect", "hang", None, 2),
        ("heal", None),
        ("revoke", "jwts"),
        ("revoke", "refresh_tokens"),
        ("expire", 3),
        ("setting", "clock_offset", 0.0),
        ("reset", "everything"),
    ]


async def test_events_come_as_they_happen(sandbox: Sandbox, caller: Caller) -> None:
    """A reader that is there hears of what happens later, and gets the state after an act of control."""
    async with following(sandbox) as stream:
        assert (await stream.next()).data["last_event_id"] is None
        caller.connect()
        (login,) = await stream.until("login")
        sandbox.revoke()
        (revoke,) = await stream.until("revoke")
        state = (await stream.until("state"))[-1]

    assert (login.id, revoke.id) == tuple(f"{state.data['run']}-{number}" for number in (1, 2))
    assert state.data["last_event_id"] == revoke.id
    assert state.data["token"]["good"] is False


async def test_the_state_follows_an_act_at_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an act of control the state comes before its second is over."""
    monkeypatch.setattr(f"{STREAM}._STATE_EVERY", 10 * HANG)
    async with following(sandbox) as stream:
        await stream.next()
        sandbox.heal()
        await stream.until("heal")

        assert (await stream.next()).kind == "state"


async def test_the_same_state_is_told_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing changes there is a sign of life now and then, and no state."""
    monkeypatch.setattr(f"{STREAM}._STATE_EVERY", 0.0)
    monkeypatch.setattr(f"{STREAM}._QUIET", 0.0)
    async with following(sandbox) as stream:
        await stream.next()

        assert {await stream.block() for _ in range(5)} == {": quiet"}


async def test_a_reader_goes_on_where_it_was(sandbox: Sandbox) -> None:
    """With the id of the last event only later ones come; with that of another run, all that are kept."""
    for seconds in range(3):
        sandbox.expire(seconds)
    sandbox.heal()
    async with following(sandbox) as stream:
        frames = await stream.until("heal")
    async with following(sandbox, frames[1].id) as stream:
        later = await stream.until("heal")
    again = []
    for other in ("00000000-2", "nonsense", f"{(frames[1].id or '').split('-')[0]}-x"):
        async with following(sandbox, other) as stream:
            again.append(await stream.until("heal"))

    assert later == frames[2:]
    assert again == [frames] * 3


async def test_the_latest_events_are_replayed(sandbox: Sandbox) -> None:
    """A new reader gets the latest thousand, and no word of earlier ones."""
    for number in range(KEPT):
        sandbox.expire(number)
    sandbox.heal()
    async with following(sandbox) as stream:
        frames = await stream.until("heal")

    assert len(frames) == KEPT
    assert frames[0].data["seconds"] == 1


async def test_a_slow_reader_costs_no_memory_and_is_told_what_it_missed(sandbox: Sandbox) -> None:
    """While a reader does not read, 10,000 events need no more memory than a thousand; it hears of the gap."""
    sandbox.heal()
    async with following(sandbox) as stream:
        first = (await stream.until("heal"))[-1].id or ""
        for number in range(KEPT):
            sandbox.expire(number)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for number in range(10_000):
                sandbox.expire(number)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        sandbox.reset_counters()
        frames = await stream.until("reset")
    missed = sum(frame.data["events"] for frame in frames if frame.kind == "dropped")
    numbers = [int(frame.id.split("-")[1]) for frame in frames if frame.id]

    assert grown < 4_000_000
    assert missed + len(numbers) == KEPT + 10_001
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - int(first.split("-")[1]) == KEPT + 10_001


def test_stopping_ends_streams(sandbox: Sandbox) -> None:
    """A sandbox stops at once, and its streams end with it."""
    with httpx.stream("GET", f"{sandbox.base_url}{EVENTS}", timeout=HANG) as response:
        lines = response.iter_lines()
        assert next(lines) == "retry: 1000"
        sandbox.stop()

        with pytest.raises(httpx.TransportError):
            list(lines)


async def test_readers_are_limited(sandbox: Sandbox) -> None:
    """No more than 32 readers are served at a time; when one leaves there is room for another."""
    async with contextlib.AsyncExitStack() as readers:
        for _ in range(31):
            await readers.enter_async_context(following(sandbox))
        async with following(sandbox) as last, following(sandbox) as refused:
            assert (last.status, refused.status) == (200, 503)
        # The server notices a little later.
        with anyio.fail_after(HANG):
            statuses = [503]
            while statuses[-1] == 503:
                async with following(sandbox) as late:
                    statuses.append(late.status)

    assert statuses[-1] == 200


async def test_no_event_holds_a_secret(sandbox: Sandbox, caller: Caller) -> None:
    """No secret, token or client's id is in the stream, whatever happens to requests."""
    token = caller.token()
    sandbox.fail("connect", Fault.edit(jwtToken="canary"), times=1)
    caller.connect()
    caller.connect("wrong-secret")
    caller.refresh(token["refreshToken"])
    caller.refresh("wrong-token")
    caller.client.get(f"{REGISTER}?key=query-secret", headers={"Authorization": "Bearer wrong-jwt"})
    caller.register(token["jwtToken"], b"body-secret")
    sandbox.reset()
    async with following(sandbox) as stream:
        text = str(await stream.until("reset")) + str(await stream.until("state"))

    secrets = (*sandbox.issued_jwts, *sandbox.issued_refresh_tokens, sandbox.client_id)
    words = ("secret", "canary", "wrong", *secrets)
    assert [word for word in words if word in text] == []


def test_requests_per_second_are_those_of_the_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is the count of the last whole second, and 0 after a second without requests."""
    now = 0.0
    monkeypatch.setattr("taxizer_async.testing._sandbox.recorder.time.monotonic", lambda: now)
    meter = _Meter()
    for now in (10.0, 10.5, 10.9, 11.2, 11.3):  # noqa: B007 - what the clock shows
        meter.tick()

    for now, rate in ((11.9, 3), (12.0, 2), (13.0, 0)):  # noqa: B007
        assert meter.read() == rate
    meter.tick()
    now = 20.0
    assert meter.read() == 0


async def test_the_rate_falls_to_nothing(sandbox: Sandbox, caller: Caller) -> None:
    """The state comes again when the rate has changed, without a request."""
    rates: list[int] = []
    async with following(sandbox) as stream:
        caller.connect()
        while rates[-2:] != [1, 0]:
            state = (await stream.until("state"))[-1].data
            rates.append(state["requests_per_second"])
