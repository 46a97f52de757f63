"""Taxizer in a server of aiohttp's: its session, its keep_fresh, and how both end."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio
import anyio.to_thread
import httpx
import pytest

from aiohttp import web

from taxizer_async import ConfigurationError, CredentialsRejectedError, TaxizerAuth, TokenState
from taxizer_async.aiohttp import TAXIZER_AUTH, TAXIZER_SESSION, auth_key, session_key, taxizer_ctx
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, ManualClock, Sandbox
from tests.support.callers import PATH, auth_of
from tests.support.limits import HANG

from .shop import make_app


_REQUESTS: Final = 20


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve on loopback; the start and the end are in tasks of their own, as with some runners."""
    runner = web.AppRunner(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.setup)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.cleanup)


def app_with(*contexts: Any) -> web.Application:
    app = web.Application()
    app.cleanup_ctx.extend(contexts)
    return app


async def test_a_store_that_can_not_be_used_is_told_at_the_start(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The application starts all the same, and its requests get a token."""
    tmp_path.chmod(0o777)

    def make_auth() -> TaxizerAuth:
        return TaxizerAuth(
            sandbox.credentials, base_url=sandbox.base_url, store=FileTokenStore(tmp_path)
        )

    app = app_with(taxizer_ctx(make_auth, keep_fresh=False))
    async with serving(app):
        assert "the token store can't be used" in caplog.text
        await app[TAXIZER_AUTH].token()


@pytest.mark.usefixtures("environment")
async def test_an_application_has_a_session_for_as_long_as_it_runs(sandbox: Sandbox) -> None:
    """All requests of a server share one token, which is kept fresh; the end leaves nothing open."""
    app = make_app()
    statuses: list[int] = []
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as buyer:

        async def buy() -> None:
            statuses.append((await buyer.post("/sell")).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(_REQUESTS):
                tasks.start_soon(buy)
        sandbox.revoke()
        await buy()
        health = (await buyer.get("/health")).json()

    assert statuses == [200] * (_REQUESTS + 1)
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert health == {"state": "fresh", "keep_fresh": True, "selling": 0}
    assert app[TAXIZER_SESSION].closed
    assert not app[TAXIZER_AUTH].status().keep_fresh_running


async def test_keep_fresh_logs_in_before_the_first_request(sandbox: Sandbox) -> None:
    """A server that has just started has a token before anybody asks."""
    async with serving(app_with(taxizer_ctx(partial(auth_of, sandbox)))):
        await sandbox.wait_until_async(lambda counters: counters.connects_ok == 1)


async def test_an_application_may_do_without_keep_fresh(sandbox: Sandbox) -> None:
    """Without it the first request logs in."""
    app = app_with(taxizer_ctx(partial(auth_of, sandbox), keep_fresh=False))
    async with serving(app):
        status = app[TAXIZER_AUTH].status()
        assert (status.state, status.keep_fresh_running) == (TokenState.NONE, False)
        assert sandbox.counters.exchanges == 0
        async with app[TAXIZER_SESSION].post(PATH) as answer:
            assert answer.status == 200


async def test_a_login_that_is_under_way_does_not_hold_up_the_end(sandbox: Sandbox) -> None:
    """A server that ends while keep_fresh waits for a login ends at once, and with no error."""
    with sandbox.hold("connect") as gate:
        with anyio.fail_after(HANG):
            async with serving(app_with(taxizer_ctx(partial(auth_of, sandbox)))):
                await gate.wait_until_async(1)


async def test_options_of_the_session_reach_it(sandbox: Sandbox) -> None:
    """All that a session takes can be given; middlewares come before the one with the token."""
    seen: list[bool] = []

    async def look(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append("Authorization" in request.headers)
        return await handler(request)

    timeout = aiohttp.ClientTimeout(7)
    context = taxizer_ctx(
        partial(auth_of, sandbox), middlewares=[look], headers={"X-Mine": "1"}, timeout=timeout
    )
    app = app_with(context)
    async with serving(app), app[TAXIZER_SESSION].get("/v1/echo") as answer:
        assert (await answer.json())["headers"]["x-mine"] == "1"
        assert app[TAXIZER_SESSION].timeout == timeout

    assert seen == [False]


@pytest.mark.report(142)
async def test_an_application_may_have_several_accounts(sandbox: Sandbox) -> None:
    """Each name has a session and an auth of its own, beside those without a name."""
    make_auth = partial(auth_of, sandbox)
    app = app_with(taxizer_ctx(make_auth), taxizer_ctx(make_auth, name="north"))
    async with serving(app):
        assert app[auth_key("north")] is not app[TAXIZER_AUTH]
        for key in (TAXIZER_SESSION, session_key("north")):
            async with app[key].post(PATH) as answer:
                assert answer.status == 200

    assert sandbox.counters.connects == 2


@pytest.mark.report(142)
@pytest.mark.parametrize("name", [None, "north"])
async def test_the_same_name_twice_is_refused_at_the_start(
    sandbox: Sandbox, name: str | None
) -> None:
    """An application with two contexts of one name does not start."""
    context = partial(taxizer_ctx, partial(auth_of, sandbox), name=name)
    runner = web.AppRunner(app_with(context(), context()))
    with pytest.raises(ConfigurationError, match="two taxizer_ctx of one application"):
        await runner.setup()
    await runner.cleanup()


@pytest.mark.report(143)
async def test_it_may_log_in_at_the_start_or_fail(sandbox: Sandbox) -> None:
    """With log_in_at_start a server has a token once it runs, and with a wrong secret never runs."""
    context = taxizer_ctx(partial(auth_of, sandbox), keep_fresh=False, log_in_at_start=True)
    app = app_with(context)
    async with serving(app):
        assert app[TAXIZER_AUTH].status().usable
    sandbox.fail("connect", Fault.status(400))
    failing = app_with(context)
    runner = web.AppRunner(failing)
    with pytest.raises(CredentialsRejectedError):
        await runner.setup()
    await runner.cleanup()

    assert failing[TAXIZER_SESSION].closed


async def test_a_start_that_failed_may_be_tried_again(sandbox: Sandbox) -> None:
    """What a start that failed has left in the application does not stop the next one."""
    sandbox.fail("connect", Fault.status(400), times=1)
    context = taxizer_ctx(partial(auth_of, sandbox), keep_fresh=False, log_in_at_start=True)
    app = app_with(context)
    runner = web.AppRunner(app)
    with pytest.raises(CredentialsRejectedError):
        await runner.setup()
    await runner.cleanup()

    async with serving(app):
        assert app[TAXIZER_AUTH].status().usable
    assert app[TAXIZER_SESSION].closed


@pytest.mark.parametrize("option", ["base_url", "auth"])
def test_what_it_brings_itself_is_refused(option: str) -> None:
    """A base_url or auth for the session is refused at once, and the error names make_auth."""
    options: dict[str, Any] = {option: "https://api.example"}
    with pytest.raises(ConfigurationError, match=f"sets {option} itself: pass make_auth="):
        taxizer_ctx(**options)


async def test_an_incomplete_environment_ends_the_start(environment: pytest.MonkeyPatch) -> None:
    """A server without credentials does not start, and says which variable is missing."""
    environment.delenv("TAXIZER_CLIENT_SECRET")
    runner = web.AppRunner(app_with(taxizer_ctx()))
    with pytest.raises(ConfigurationError, match="TAXIZER_CLIENT_SECRET"):
        await runner.setup()
    await runner.cleanup()


async def test_a_start_that_fails_later_leaves_nothing_open(sandbox: Sandbox) -> None:
    """If another part of the application can't start, the session is closed and keep_fresh ended."""

    async def fail(_: web.Application) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    app = app_with(taxizer_ctx(partial(auth_of, sandbox)), fail)
    runner = web.AppRunner(app)
    with pytest.raises(LookupError, match="no database"):
        await runner.setup()
    await runner.cleanup()

    assert app[TAXIZER_SESSION].closed
    assert not app[TAXIZER_AUTH].status().keep_fresh_running


class BrokenClock:
    """Tells the time and can't sleep."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.monotonic = clock.monotonic
        self.wall = clock.wall

    async def sleep(self, _: float, /) -> None:
        raise ArithmeticError("no sleep")


async def test_a_keep_fresh_that_fails_is_told(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of keep_fresh is logged at once and raised at the end; requests go on meanwhile."""
    app = app_with(taxizer_ctx(partial(auth_of, sandbox, clock=BrokenClock())))
    runner = web.AppRunner(app)
    await runner.setup()
    with anyio.fail_after(HANG):
        while app[TAXIZER_AUTH].status().keep_fresh_running or not sandbox.counters.connects_ok:
            await anyio.wait_all_tasks_blocked()
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "keep_fresh has failed (ExceptionGroup)" in told.message
    assert told.exc_info is None
    async with app[TAXIZER_SESSION].post(PATH) as answer:
        assert answer.status == 200

    with pytest.RaisesGroup(ArithmeticError):
        await runner.cleanup()
    assert app[TAXIZER_SESSION].closed


@contextlib.contextmanager
def running_shop() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("shop.py"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("where", ["connect", PATH])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_are_answered_when_the_server_is_asked_to_end(
    sandbox: Sandbox, where: str, number: signal.Signals
) -> None:
    """A signal during logins or requests loses none of them, and the program ends cleanly."""
    statuses: list[int] = []
    # Before the program starts, as it logs in at once.
    with sandbox.hold(where) as gate, running_shop() as (process, port):
        assert process.stdout is not None
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as buyer:

            async def buy(number: int) -> None:
                statuses.append((await buyer.post(f"/sell?{number}")).status_code)

            async with anyio.create_task_group() as tasks:
                for buying in range(_REQUESTS):
                    tasks.start_soon(buy, buying)
                await gate.wait_until_async(1 if where == "connect" else _REQUESTS, timeout=20)
                with anyio.fail_after(20):
                    while (await buyer.get("/health")).json()["selling"] < _REQUESTS:
                        pass
                process.send_signal(number)
                assert await anyio.to_thread.run_sync(process.stdout.readline) == "ending\n"
                gate.release()
        stdout, stderr = await anyio.to_thread.run_sync(process.communicate)

    assert statuses == [200] * _REQUESTS
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert sandbox.counters.exchanges == 1
