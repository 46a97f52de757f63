"""Listeners of an auth: no request and no login waits for one, and none loses an event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import httpx2
import pytest

import taxizer_async.httpx2

from taxizer_async import (
    Event,
    ExchangeFailed,
    LoggedIn,
    OriginSkipped,
    RenewalPolicy,
    TaxizerAuth,
    TokenAwaited,
    TokenRefused,
)
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import PATIENT


each_auth = pytest.mark.parametrize(
    "build", [TaxizerAuth, taxizer_async.httpx2.TaxizerAuth], ids=["httpx", "httpx2"]
)


class Slow:
    """A listener that blocks until it is let go."""

    def __init__(self) -> None:
        self.begun: list[type[Event]] = []
        self.heard: list[type[Event]] = []
        self.go = anyio.Event()

    async def __call__(self, event: Event) -> None:
        self.begun.append(type(event))
        await self.go.wait()
        self.heard.append(type(event))


async def once() -> AsyncIterator[bytes]:
    yield b"{}"


@pytest.mark.invariant(23)
@pytest.mark.report(140)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_no_request_waits_for_a_listener(sandbox: Sandbox, library: Any) -> None:
    """A request waits for no listener at a login, after a 401 or on the way to another origin."""
    slow = Slow()
    build = TaxizerAuth if library is httpx else taxizer_async.httpx2.TaxizerAuth
    auth = build(sandbox.credentials, base_url=sandbox.base_url, policy=PATIENT, on_event=slow)
    by_name = sandbox.base_url.replace("127.0.0.1", "localhost")
    async with library.AsyncClient(auth=auth, base_url=sandbox.base_url) as client:
        with anyio.fail_after(HANG):
            statuses = [(await client.post(PATH)).status_code]
            sandbox.revoke()
            statuses.append((await client.post(PATH)).status_code)
            sandbox.fail("resource", Fault.unauthorized(), times=1)
            statuses.append((await client.post(PATH, content=once())).status_code)
            statuses.append((await client.get(f"{by_name}/v1/echo")).status_code)
            await auth.forget()
    assert statuses == [200, 200, 401, 401]
    assert slow.heard == []
    assert slow.begun == [LoggedIn]

    slow.go.set()
    await auth.events_delivered()
    assert slow.heard.count(TokenRefused) == 2
    assert OriginSkipped in slow.heard
    assert slow.heard[0] is LoggedIn


@pytest.mark.invariant(23)
@pytest.mark.report(140)
async def test_a_deadline_loses_neither_the_request_nor_the_event(sandbox: Sandbox) -> None:
    """A deadline of the caller's does not cut off what a listener is told."""
    slow = Slow()
    auth = auth_of(sandbox, policy=PATIENT, on_event=slow)
    async with client_of(auth) as client:
        with anyio.CancelScope() as scope:
            assert (await client.post(PATH)).status_code == 200
            while not slow.begun:
                await anyio.lowlevel.checkpoint()
            # The deadline comes while the listener hears of the login.
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    slow.go.set()
    await auth.events_delivered()

    assert scope.cancelled_caught
    assert slow.heard == [LoggedIn, TokenAwaited]


@pytest.mark.invariant(23)
async def test_callers_that_leave_take_no_event_along(sandbox: Sandbox) -> None:
    """Listeners hear of a login even if all its callers have left."""
    heard: list[type[Event]] = []
    auth = auth_of(sandbox, on_event=lambda e: heard.append(type(e)))
    with sandbox.hold("connect") as gate:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(auth.token)
            await gate.wait_until_async(1)
            tasks.cancel_scope.cancel()
    await auth.token()
    await auth.events_delivered()

    assert sandbox.counters.connects == 1
    assert heard == [LoggedIn, TokenAwaited]


async def test_a_listener_may_ask_for_a_token(sandbox: Sandbox) -> None:
    """A listener that hears of a failed login may log in, and neither waits for the other."""
    heard: list[type[Event]] = []
    policy = RenewalPolicy(hook_timeout=3 * HANG, outage_backoff=0.001, backoff=60.0)
    auth = auth_of(sandbox, policy=policy)

    async def try_again(event: Event) -> None:
        heard.append(type(event))
        if isinstance(event, ExchangeFailed):
            await anyio.sleep(0.01)
            await auth.token()
            await auth.forget()

    auth.add_listener(try_again)
    sandbox.fail("connect", Fault.status(503), times=1)
    with anyio.fail_after(HANG):
        with pytest.raises(Exception, match="503"):
            await auth.token()
        await auth.events_delivered()

    assert (sandbox.counters.connects, sandbox.counters.connects_ok) == (2, 1)
    assert LoggedIn in heard


@each_auth
async def test_listeners_are_added_and_removed(sandbox: Sandbox, build: Any) -> None:
    """Any number may be added to *on_event*, and each can be removed."""
    heard: list[tuple[str, type[Event]]] = []

    def note(name: str) -> Callable[[Event], None]:
        return lambda event: heard.append((name, type(event)))

    auth = build(sandbox.credentials, base_url=sandbox.base_url, on_event=note("on_event"))
    remove = auth.add_listener(note("sync"))

    async def listen(event: Event) -> None:
        note("async")(event)

    auth.add_listener(listen)
    await auth.token()
    await auth.events_delivered()
    assert {name for name, kind in heard if kind is LoggedIn} == {"on_event", "sync", "async"}
    heard.clear()
    remove()
    await auth.forget()
    await auth.events_delivered()

    assert sorted(name for name, _ in heard) == ["async", "on_event"]


@each_auth
def test_a_listener_is_callable(sandbox: Sandbox, build: Any) -> None:
    """A listener that can't be called is refused when it is added, and not shown."""
    auth = build(sandbox.credentials, base_url=sandbox.base_url)
    with pytest.raises(
        taxizer_async.ConfigurationError, match=r"^a listener must be a callable, not str$"
    ) as caught:
        auth.add_listener("canary")

    ours = [
        entry
        for entry in caught.traceback
        if "taxizer_async/_" in str(entry.path) or "httpx2.py" in str(entry.path)
    ]
    assert ours
    assert not any("canary" in map(str, entry.frame.f_locals.values()) for entry in ours)
