"""Threads without an event loop share one token, one login and one renewal, with async callers too."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from taxizer_async import (
    AuthError,
    Credentials,
    CredentialsRejectedError,
    Event,
    RenewalPolicy,
    TaxizerAuth,
    TokenEndpointUnavailableError,
)
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import PATH, TLS, auth_of, client_of
from tests.support.limits import HANG
from tests.support.policies import DUE
from tests.support.threads import helper_threads, refuse_threads, run_in_threads, wait_until


def sync_client_of(auth: TaxizerAuth) -> httpx.Client:
    """Return a plain sync client of httpx's with *auth*."""
    return httpx.Client(
        auth=auth, base_url=auth.base_url, timeout=HANG, verify=TLS, trust_env=False
    )


@pytest.mark.invariant(3)
async def test_sync_and_async_callers_share_a_login_and_a_renewal(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """Requests of threads and of tasks at the same time cause one login, and one renewal."""
    statuses: list[int] = []

    async def send(client: httpx.AsyncClient) -> None:
        statuses.append((await client.get(PATH)).status_code)

    def send_sync(client: httpx.Client) -> None:
        statuses.append(client.get(PATH).status_code)

    with sync_client_of(auth) as sync_client:
        async with client_of(auth, timeout=HANG) as client:
            for is_revoked in (False, True):
                if is_revoked:
                    sandbox.revoke()
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(send, client)
                        tasks.start_soon(anyio.to_thread.run_sync, send_sync, sync_client)

    assert statuses == [200] * 40
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


def no_loop(_: object) -> None:
    pytest.fail("an event loop was made")


@pytest.mark.invariant(1)
async def test_a_fresh_token_starts_nothing(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync caller with a fresh token starts no thread and no event loop."""
    await auth.token()
    refuse_threads(monkeypatch)
    monkeypatch.setattr("asyncio.SelectorEventLoop.__init__", no_loop)
    with sync_client_of(auth) as client:
        assert client.get(PATH).status_code == 200
        assert auth.sync_token().jwt == (await auth.token()).jwt

    assert sandbox.counters.exchanges == 1


@pytest.mark.invariant(5)
def test_the_thread_ends_when_nobody_waits(
    sandbox: Sandbox, auth: TaxizerAuth, clock: ManualClock
) -> None:
    """No thread and no socket are left once the refresh is over, be it of need or ahead of it."""
    aging = auth_of(sandbox, clock=clock)
    before = open_sockets()
    for _ in range(3):
        auth.sync_forget()
        auth.sync_token()
        sandbox.revoke()
        assert auth.sync_refused(auth.sync_token()) is not None
        aging.sync_token()
        clock.advance(DUE)
    wait_until(lambda: not helper_threads() and open_sockets() <= before)


def open_sockets() -> int:
    gc.collect()
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:  # the one of the folder itself
            continue
    return count


@pytest.mark.invariant(7)
def test_ahead_of_need_no_thread_waits(
    sandbox: Sandbox, clock: ManualClock, auth: TaxizerAuth
) -> None:
    """Requests go on with their token while one renewal runs in the background, and then have the new one."""
    served_by: list[threading.Thread] = []

    async def credentials() -> Credentials:
        served_by.append(threading.current_thread())
        return sandbox.credentials

    auth = auth_of(sandbox, clock=clock)
    with sync_client_of(auth) as client:
        old = auth.sync_token()
        wait_until(lambda: not helper_threads())
        clock.advance(DUE)
        with sandbox.hold("refresh") as gate:
            assert [client.get(PATH).status_code for _ in range(3)] == [200] * 3
            assert auth.sync_token() == old
            gate.wait_until(1)
            assert run_in_threads(8, lambda: client.get(PATH).status_code) == [200] * 8
            # The thread that runs it has not ended, so it serves others meanwhile.
            TaxizerAuth(credentials, base_url=sandbox.base_url).sync_token()
            assert helper_threads() == served_by
        wait_until(lambda: not helper_threads())
        assert auth.sync_token() != old
        assert client.get(PATH).status_code == 200

    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (2, 1)


@pytest.mark.invariant(7)
def test_ahead_of_need_a_lack_of_threads_fails_nothing(
    sandbox: Sandbox, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal ahead of need that can't be started is left to another request."""
    auth = auth_of(sandbox, clock=clock)
    old = auth.sync_token()
    clock.advance(DUE)
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        assert auth.sync_token() == old
    auth.sync_token()
    wait_until(lambda: not helper_threads())

    assert auth.sync_token() != old
    assert sandbox.counters.exchanges == 2


@pytest.mark.invariant(21)
def test_a_failure_is_remembered_for_sync_callers(sandbox: Sandbox) -> None:
    """Refused credentials are not sent a second time, and `sync_forget` drops that."""
    sandbox.change_secret("another")
    auth = auth_of(sandbox, sandbox.credentials)
    sandbox.change_secret("a third")
    for _ in range(3):
        with pytest.raises(CredentialsRejectedError):
            auth.sync_token()
    assert sandbox.counters.connects == 1

    auth.sync_forget()
    with pytest.raises(CredentialsRejectedError):
        auth.sync_token()
    assert sandbox.counters.connects == 2


def test_a_refusal_that_was_seen_elsewhere_is_renewed_once(
    sandbox: Sandbox, auth: TaxizerAuth
) -> None:
    """All threads that report the same token share one renewal; when that fails, the answer is None."""
    token = auth.sync_token()
    sandbox.revoke()
    found = run_in_threads(8, lambda: auth.sync_refused(token))
    assert {type(each) for each in found} == {type(token)}
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)

    sandbox.change_secret("another")
    sandbox.revoke_refresh_tokens()
    assert auth.sync_refused(auth.sync_token()) is None


def test_async_listeners_hear_of_what_sync_callers_do(sandbox: Sandbox) -> None:
    """An async listener is called in the helper thread, for events of the caller's thread as well."""
    heard: list[str] = []

    async def listen(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(type(event).__name__)

    auth = auth_of(sandbox, on_event=listen)
    with sync_client_of(auth) as client:
        client.get(PATH)
        sandbox.revoke()
        client.get(PATH)
    wait_until(lambda: not helper_threads())

    assert sorted(heard) == ["LoggedIn", "Renewed", "TokenAwaited", "TokenAwaited", "TokenRefused"]


def test_a_login_that_asks_for_its_own_token_fails(sandbox: Sandbox) -> None:
    """An async credentials callable that makes a sync call on its own auth is told so, at once."""

    async def read() -> object:
        auth.sync_token()
        return sandbox.credentials

    auth = auth_of(sandbox, read)
    with pytest.raises(AuthError, match="RuntimeError"):
        auth.sync_token()
    assert sandbox.counters.exchanges == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_helper_thread_that_ends_early_is_replaced(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If the user's code ends its event loop, callers get a retryable error, and the next one another thread."""
    interrupts = [KeyboardInterrupt()]

    async def read() -> object:
        if interrupts:
            raise interrupts.pop()
        return sandbox.credentials

    auth = auth_of(sandbox, read, policy=RenewalPolicy(outage_backoff=0.001))
    with pytest.raises(TokenEndpointUnavailableError):
        auth.sync_token()
    wait_until(lambda: not helper_threads())

    assert auth.sync_token().jwt.reveal() == sandbox.issued_jwts[0]
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_async_programs_load_nothing_of_it(sandbox: Sandbox) -> None:
    """An async request, with its login, imports no module of the sync face."""
    code = f"""
import sys, anyio
from taxizer_async import Credentials, TaxizerClient

async def main():
    pair = Credentials("sandbox-client", "sandbox-secret")
    async with TaxizerClient(pair, base_url={sandbox.base_url!r}) as client:
        print((await client.get("/v1/x")).status_code)

anyio.run(main)
print([name for name in sys.modules if name.endswith(("sync_face", "helper_thread"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=50, text=True
    )
    assert done.stdout.split("\n")[:2] == ["200", "[]"]
