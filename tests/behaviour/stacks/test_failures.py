"""What a caller gets when no token can be had, when it is cancelled, and what it leaves behind."""

from __future__ import annotations

import contextlib
import gc

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from taxizer_async import (
    AuthError,
    CredentialsRejectedError,
    Event,
    RenewalPolicy,
    TaxizerError,
    TokenEndpointUnavailableError,
    TokenResponseError,
)
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH
from tests.support.canaries import ECHO, SECRET, Exposed
from tests.support.limits import HANG
from tests.support.policies import ONE_TRY

from .conftest import async_only, send_all
from .stacks import Auth, Sender, Stack


FAULTS = {
    "refused": (Fault.status(400), CredentialsRejectedError),
    "down": (Fault.status(503), TokenEndpointUnavailableError),
    "reset": (Fault.reset(), TokenEndpointUnavailableError),
    "truncated": (Fault.truncate(), TokenEndpointUnavailableError),
    "junk": (Fault.junk(ECHO.encode()), TokenResponseError),
    "moved": (Fault.status(302, headers={"Location": "/v1/x"}), TokenResponseError),
}
faults = pytest.mark.parametrize(("fault", "kind"), FAULTS.values(), ids=FAULTS)


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox(client_secret=SECRET) as sandbox:
        yield sandbox


@pytest.mark.invariant(22)
@faults
async def test_a_failed_login_is_an_error_of_ours(
    sandbox: Sandbox, stack: Stack, fault: Fault, kind: type[AuthError]
) -> None:
    """Each kind of failure has its class, reaches all callers, and sends no request."""
    sandbox.fail("connect", fault)
    auth = stack.make_auth(sandbox, policy=ONE_TRY)
    raised: list[AuthError] = []

    async def send() -> None:
        with pytest.raises(kind) as caught:
            await sender.send("GET", PATH)
        raised.append(caught.value)

    async with stack.open(auth) as sender, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(send)

    assert len({id(error) for error in raised}) == 10
    assert all(error.retry_at is not None for error in raised)
    assert sandbox.counters.connects <= 2
    assert sandbox.counters.resources == 0


async def test_a_login_that_nobody_answers_is_an_outage(sandbox: Sandbox, stack: Stack) -> None:
    """A closed port is reported by the operating system's words for it."""
    auth = stack.make_auth(sandbox, policy=ONE_TRY)
    sandbox.stop()
    async with stack.open(auth) as sender:
        with pytest.raises(TokenEndpointUnavailableError, match="Connection refused"):
            await sender.send("GET", PATH)


async def test_an_api_that_is_gone_is_the_stacks_own_error(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """With a good token a connection that fails is the library's own error, not one of ours."""
    async with stack.open(auth) as sender:
        await sender.send("GET", PATH)
        sandbox.stop()
        with pytest.raises(stack.network_errors) as caught:
            await sender.send("GET", PATH)

    assert not isinstance(caught.value, TaxizerError)


async def test_a_renewal_that_fails_after_a_401_is_an_error_of_ours(
    sandbox: Sandbox, stack: Stack
) -> None:
    """If the renewal and the login after a 401 fail, the request raises, and its connection is free."""
    auth = stack.make_auth(sandbox, policy=RenewalPolicy(backoff=60.0, outage_backoff=0.001))
    async with stack.open(auth, connections=1) as sender:
        await sender.send("GET", PATH)
        sandbox.revoke()
        sandbox.fail("refresh", Fault.status(503), times=1)
        sandbox.fail("connect", Fault.status(503), times=1)
        with pytest.raises(TokenEndpointUnavailableError):
            await sender.send("GET", PATH)
        with anyio.fail_after(HANG):
            while (await status_of(sender)) != 200:
                pass


async def status_of(sender: Sender) -> int | None:
    try:
        return (await sender.send("GET", PATH)).status
    except TokenEndpointUnavailableError:
        return None


@pytest.mark.invariant(5)
@pytest.mark.report(32, 33, 105)
@pytest.mark.parametrize("victim", ["leader", "follower"])
@async_only
async def test_a_cancelled_caller_ends_at_once_and_hurts_nobody(
    sandbox: Sandbox, stack: Stack, auth: Auth, victim: str
) -> None:
    """When one of two callers that wait for a login is cancelled, the other one is served by that login."""
    scopes = {name: anyio.CancelScope() for name in ("leader", "follower")}
    ended = {name: anyio.Event() for name in scopes}
    answers: list[int] = []

    async def send(name: str) -> None:
        with scopes[name]:
            answers.append((await sender.send("GET", PATH)).status)
        ended[name].set()

    async with stack.open(auth) as sender, anyio.create_task_group() as tasks:
        with sandbox.hold("connect") as gate:
            tasks.start_soon(send, "leader")
            await gate.wait_until_async(1)
            tasks.start_soon(send, "follower")
            await anyio.wait_all_tasks_blocked()
            scopes[victim].cancel()
            with anyio.fail_after(HANG):
                await ended[victim].wait()
            assert answers == []
            gate.release()
        with anyio.fail_after(HANG):
            await ended["follower" if victim == "leader" else "leader"].wait()
        assert answers == [200]
        assert (await sender.send("GET", PATH)).status == 200

    assert sandbox.counters.connects == 1


@async_only
async def test_a_caller_that_is_cancelled_while_its_401_is_renewed_leaves_no_trace(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """With one connection in the pool the next request goes through, with one refresh in all."""
    async with stack.open(auth, connections=1) as sender:
        await sender.send("GET", PATH)
        sandbox.revoke()
        with sandbox.hold("refresh") as gate, anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sender.send, "GET", PATH)
                await gate.wait_until_async(1)
                scope.cancel()
        with anyio.fail_after(HANG):
            assert await send_all(sender, 3) == [200] * 3

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)
    assert sandbox.counters.reuses == 0


@async_only
async def test_a_caller_that_is_cancelled_in_its_request_leaves_no_trace(
    sandbox: Sandbox, stack: Stack, auth: Auth
) -> None:
    """A flow that is closed while its request is under way holds nothing."""
    async with stack.open(auth, connections=1) as sender:
        with sandbox.hold(PATH) as gate:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(sender.send, "GET", PATH)
                    await gate.wait_until_async(1)
                    scope.cancel()
            with anyio.fail_after(HANG):
                assert (await sender.send("GET", "/v1/other")).status == 200
            gate.release()

    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(20)
@faults
async def test_no_error_shows_a_secret(
    sandbox: Sandbox,
    stack: Stack,
    events: list[Event],
    exposed: Exposed,
    fault: Fault,
    kind: type[AuthError],
) -> None:
    """Errors of a renewal and of the login after it: text, fields, causes, notes, frames and logs."""
    auth = stack.make_auth(
        sandbox,
        on_event=events.append,
        policy=RenewalPolicy(backoff=60.0, outage_backoff=0.001, rejected_for=0.001),
    )
    await auth.token()
    sandbox.fail("connect", fault)
    sandbox.fail("refresh", fault)
    raised: list[BaseException] = []
    async with stack.open(auth) as sender:
        sandbox.revoke()
        while not isinstance(raised[-1] if raised else None, kind):
            with pytest.raises(AuthError) as caught:
                await sender.send("GET", PATH)
            raised.append(caught.value)
    await auth.events_delivered()

    assert exposed(*raised, auth, auth.status(), *events) == []


@pytest.mark.invariant(20)
async def test_a_life_shows_no_secret(
    sandbox: Sandbox, auth: Auth, exposed: Exposed, sender: Sender
) -> None:
    """The logs of all libraries at DEBUG, and the auth's repr and status, show no secret."""
    for _ in range(3):
        assert (await sender.send("POST", PATH, json={})).status == 200
        sandbox.revoke()

    assert exposed(auth, auth.status(), await auth.token()) == []


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        # The one of the folder itself is gone.
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


@async_only
async def test_no_socket_is_left_open(sandbox: Sandbox, stack: Stack, auth: Auth) -> None:
    """Logins, 401s, errors and cancellations leave no socket behind once the client is closed."""
    gc.collect()
    await anyio.wait_all_tasks_blocked()
    before = open_sockets()
    for _ in range(3):
        async with stack.open(auth) as sender:
            sandbox.revoke()
            await send_all(sender, 10)
            with sandbox.hold(PATH) as gate, anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(sender.send, "GET", PATH)
                    await gate.wait_until_async(5)
                    scope.cancel()
    with anyio.fail_after(HANG):
        while open_sockets() > before:
            gc.collect()
            await anyio.sleep(0.01)
