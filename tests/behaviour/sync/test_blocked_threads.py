"""Sync callers while code of the user's that waits without `await` blocks their helper thread."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import time

from collections.abc import Iterator

import attrs
import pytest

from taxizer_async import Credentials, TaxizerAuth, TokenEndpointUnavailableError
from taxizer_async._auth import sync_face
from taxizer_async._core import helper_thread
from taxizer_async._token import single_flight
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import auth_of
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG
from tests.support.threads import helper_threads, run_in_threads, wait_until


@attrs.define
class Blocking:
    """An async credentials callable that blocks its thread, if told to, until *end* is set."""

    pair: Credentials
    blocks: bool = True
    begun: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    end: threading.Event = attrs.field(factory=threading.Event)

    async def __call__(self) -> Credentials:
        self.begun.release()
        if self.blocks:
            self.end.wait(HANG)
        return self.pair


@pytest.fixture(name="blocking")
def _blocking(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocking]:
    """Shorten what is waited for, and end what blocks afterwards."""
    monkeypatch.setattr(helper_thread, "_SIGNALS_HANDLED_EVERY", 0.05)
    for module in (helper_thread, single_flight):
        monkeypatch.setattr(module, "BLOCKED_AFTER", 1.0)
    blocking = Blocking(sandbox.credentials)
    yield blocking
    blocking.end.set()
    wait_until(lambda: not helper_threads())


def begin(auth: TaxizerAuth, blocking: Blocking) -> threading.Thread:
    """Have a thread ask for a token, and return it once the helper thread is blocked."""
    thread = threading.Thread(target=run_in_threads, args=(1, auth.sync_token), daemon=True)
    thread.start()
    assert blocking.begun.acquire(timeout=HANG)
    return thread


@pytest.mark.invariant(6)
def test_another_account_is_served_by_another_thread(sandbox: Sandbox, blocking: Blocking) -> None:
    """While the code of one account blocks the thread that all share, another account gets its token."""
    asking = begin(auth_of(sandbox, blocking), blocking)

    assert auth_of(sandbox).sync_token().jwt.reveal() == sandbox.issued_jwts[0]
    assert len(helper_threads()) >= 2

    blocking.end.set()
    asking.join(HANG)


@pytest.mark.invariant(6)
def test_a_caller_that_is_blocked_by_its_own_login_gets_an_error(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """Each caller is told what blocks; once it ends, the next one gets a token by one login."""
    auth = auth_of(sandbox, blocking)
    failures = run_in_threads(3, auth.sync_token)

    for failure in failures:
        assert isinstance(failure, TokenEndpointUnavailableError)
        assert "waits without await" in str(failure)

    blocking.blocks = False
    blocking.end.set()
    wait_until(lambda: not helper_threads())

    assert auth.sync_token().jwt.reveal() == sandbox.issued_jwts[-1]
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(6)
def test_blocked_threads_are_bounded(
    sandbox: Sandbox, blocking: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that blocks for ever costs so many threads, and no more."""
    monkeypatch.setattr(helper_thread, "_MOST_THREADS", 2)
    for _ in range(2):
        with pytest.raises(TokenEndpointUnavailableError):
            auth_of(sandbox, blocking).sync_token()

    assert len(helper_threads()) == 2


@pytest.mark.invariant(6)
@pytest.mark.usefixtures("blocking")
def test_a_long_login_is_waited_for(sandbox: Sandbox) -> None:
    """A thread that waits with await, for longer than one may be blocked, is left alone."""
    sandbox.connect_latency = 4.5
    before = len(helper_threads())

    assert auth_of(sandbox).sync_token().jwt.reveal() == sandbox.issued_jwts[0]
    assert len(helper_threads()) <= before + 1


@pytest.mark.invariant(6)
def test_an_account_that_blocks_again_and_again_keeps_no_other_from_its_token(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """It blocks two threads at most, and others are served by the next one, though both are blocked."""
    auth, before = auth_of(sandbox, blocking), len(helper_threads())

    def block() -> None:
        while not blocking.end.is_set():
            # Without an account it asks at once, in each thread that it comes to.
            with contextlib.suppress(TokenEndpointUnavailableError):
                auth.sync_forget()
            blocking.end.wait(0.01)

    asking = threading.Thread(target=block, daemon=True)
    asking.start()
    assert blocking.begun.acquire(timeout=HANG)
    for _ in range(3):
        results = run_in_threads(4, lambda: auth_of(sandbox).sync_token())
        assert [each for each in results if isinstance(each, BaseException)] == []

    assert len(helper_threads()) <= before + 3
    blocking.end.set()
    asking.join(HANG)
    blocking.blocks = False
    wait_until(lambda: not helper_threads())
    assert auth.sync_token().jwt.reveal() in sandbox.issued_jwts


@pytest.mark.invariant(6)
def test_a_token_that_still_works_is_used(
    sandbox: Sandbox, blocking: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that waits for a renewal goes on with the old token if each thread that it tries is blocked."""
    monkeypatch.setattr(sync_face, "_TRIES", 1)
    clock = ManualClock(start=time.time())
    blocking.blocks = False
    auth = auth_of(sandbox, blocking, clock=clock)
    token = auth.sync_token()
    blocking.begun.acquire(blocking=False)
    blocking.blocks = True
    sandbox.revoke_refresh_tokens()
    clock.advance(sandbox.lifetime - 20)

    assert auth.sync_token() == token


@pytest.mark.invariant(6)
def test_renewals_ahead_of_need_do_not_pile_up(sandbox: Sandbox, blocking: Blocking) -> None:
    """While the thread is blocked, requests ahead of need leave one call in it, not one each."""
    clock = ManualClock(start=time.time())
    auth = auth_of(sandbox, clock=clock)
    token = auth.sync_token()
    wait_until(lambda: not helper_threads())
    clock.advance(sandbox.lifetime - 60)
    asking = begin(auth_of(sandbox, blocking), blocking)
    calls = [auth.sync_token() for _ in range(20)]

    assert calls == [token] * 20
    loops = [each for each in gc.get_objects() if isinstance(each, helper_thread.HelperLoop)]
    assert max(len(loop.calls) for loop in loops) == 2

    blocking.end.set()
    asking.join(HANG)
    wait_until(lambda: auth.status().renewals == 1)


@needs_fork
@pytest.mark.invariant(6)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_not_blocked(sandbox: Sandbox, blocking: Blocking) -> None:
    """What blocks the threads of the parent keeps no caller of a child from its token."""
    auth = auth_of(sandbox, blocking)
    with pytest.raises(TokenEndpointUnavailableError):
        auth.sync_token()
    blocking.blocks = False

    async def ask() -> None:
        auth.sync_token()

    assert exit_code(fork(ask)) == 0


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async._core import helper_thread

helper_thread.BLOCKED_AFTER = 1.0
pair = Credentials("sandbox-client", "sandbox-secret")

async def read():
    time.sleep(2)
    return pair

def ask(auth):
    print(bool(auth.sync_token()))

auths = [TaxizerAuth(each, base_url=sys.argv[1]) for each in (read, pair)]
gevent.joinall([gevent.spawn(ask, auth) for auth in auths], raise_error=True)
"""


@pytest.mark.invariant(6)
def test_greenlets_go_on_in_the_loop_that_they_have(sandbox: Sandbox) -> None:
    """Under gevent all threads are one, in which no second event loop can run."""
    command = [sys.executable, "-c", GREENLETS, sandbox.base_url]
    done = subprocess.run(command, capture_output=True, check=False, timeout=HANG, text=True)

    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")
