"""What an operator reads while things go wrong: sentences, one for each change, and no secret."""

from __future__ import annotations

import contextlib
import logging
import traceback

from collections.abc import Iterator
from typing import final

import anyio
import httpx
import pytest

from taxizer_async import AuthError, Event, ExchangeFailed
from taxizer_async._core.log_lines import sentence
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, auth_of, client_of
from tests.support.canaries import canaries_of, exposures, logged
from tests.support.policies import DUE, ONE_TRY


@pytest.fixture(name="lines")
def _lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "taxizer_async")
    return caplog


def ours(lines: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what the library said to an operator."""
    return [
        record
        for record in lines.records
        if record.name == "taxizer_async" and record.levelno >= logging.INFO
    ]


@final
class _Frames(logging.Handler):
    """Collects what an error reporter sees that captures the locals of the frames that log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at the frames of the package that this comes from."""
        for frame, _ in traceback.walk_stack(None):
            if "/taxizer_async/_" in frame.f_code.co_filename:
                where = f"{record.msg} in {frame.f_code.co_name}"
                self.texts.append((where, repr(list(frame.f_locals.items()))))


@pytest.fixture(name="frames")
def _frames() -> Iterator[_Frames]:
    handler = _Frames()
    log = logging.getLogger("taxizer_async")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def post(client: httpx.AsyncClient) -> None:
    with contextlib.suppress(AuthError):
        await client.post(PATH)


async def test_a_story_in_sentences(
    sandbox: Sandbox, lines: pytest.LogCaptureFixture, frames: _Frames
) -> None:
    """A login, a 401, a sick AppRefreshToken, an outage and a foreign host are told as they happen."""
    with logged() as everything:
        auth = auth_of(sandbox, policy=ONE_TRY)
        async with client_of(auth) as client:
            await post(client)
            sandbox.revoke()
            await post(client)
            sandbox.fail("refresh", Fault.status(503))
            sandbox.revoke()
            await post(client)
            await auth.forget()
            sandbox.fail("connect", Fault.status(503))
            await post(client)
            await post(client)
        seen = exposures(canaries_of(sandbox), [*everything, *frames.texts], [])

    said = [(record.levelname, record.getMessage()) for record in ours(lines)]
    url = sandbox.base_url + "/v1/Auth/"
    told = [(level, line.split(" in 0.")[0].split("; the token lives")[0]) for level, line in said]
    assert told == [
        ("INFO", f"logged in at {url}Connect"),
        ("INFO", "token refused with a 401, so it is being renewed"),
        ("INFO", f"renewed at {url}AppRefreshToken"),
        ("INFO", "token refused with a 401, so it is being renewed"),
        (
            "WARNING",
            (
                "renewal failed, so a login follows: AppRefreshToken answered 503 Service Unavailable; "
                "the refresh token may be spent"
            ),
        ),
        ("INFO", f"logged in at {url}Connect"),
        ("INFO", "token forgotten, as forget() was called"),
        told[-1],
    ]
    level, last = said[-1]
    assert level == "ERROR"
    assert last.startswith(
        f"login failed: {url}Connect answered 503 Service Unavailable; there is "
    )
    assert len(frames.texts) > 20
    assert seen == []


async def test_a_crowd_in_an_outage_is_one_line(
    sandbox: Sandbox, lines: pytest.LogCaptureFixture
) -> None:
    """However many callers fail with a login, or again from memory, the log has one line of it."""
    sandbox.fail("connect", Fault.status(503))
    async with client_of(auth_of(sandbox, policy=ONE_TRY)) as client:
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(post, client)

    assert [record.getMessage().partition(":")[0] for record in ours(lines)] == ["login failed"]


async def test_a_failed_renewal_says_how_long_the_token_is_good(sandbox: Sandbox) -> None:
    """An operator reads how much time is left, and when the next try is."""
    heard: list[Event] = []
    clock = ManualClock()
    auth = auth_of(sandbox, clock=clock, on_event=heard.append)
    await auth.token()
    clock.advance(DUE)
    sandbox.fail("refresh", Fault.status(503))
    await auth.token()
    while not any(isinstance(event, ExchangeFailed) for event in heard):
        await anyio.wait_all_tasks_blocked()
    failed = next(event for event in heard if isinstance(event, ExchangeFailed))

    assert failed.expires_in is not None
    assert 160 < failed.expires_in < 171
    line = sentence(failed)
    assert line.startswith("renewal failed: ")
    assert "AppRefreshToken answered 503 Service Unavailable; the token is good for 1" in line
