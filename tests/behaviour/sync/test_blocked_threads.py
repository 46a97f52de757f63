"""Sync callers while code of the user's that waits without `await` blocks their helper thread."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import subprocess
import sys
import threading
import time

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import attrs
import httpx
import pytest

from taxizer_async import (
    Credentials,
    TaxizerAuth,
    Token,
    TokenEndpointUnavailableError,
    TokenStoreError,
)
from taxizer_async._auth import sync_face
from taxizer_async._core import helper_loop, helper_thread
from taxizer_async._core.events import Event, LoggedIn, OriginSkipped
from taxizer_async._core.threads import NoThreadError, start_thread
from taxizer_async._token import single_flight
from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import PATH, auth_of
from tests.support.forking import exit_code, fork, needs_fork
from tests.support.limits import HANG
from tests.support.scripted_store import ScriptedLease, ScriptedStore
from tests.support.threads import helper_threads, run_in_threads, wait_until


@attrs.define
class Blocking:
    """An async credentials callable that blocks its thread, if told to, until *end* is set."""

    pair: Credentials
    blocks: bool = True
    begun: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    end: threading.Event = attrs.field(factory=threading.Event)

    def block(self) -> None:
        self.begun.release()
        if self.blocks:
            self.end.wait(2 * HANG)

    async def __call__(self) -> Credentials:
        self.block()
        return self.pair


async def in_a_task(block: Callable[[], None]) -> None:
    """Block."""
    block()


UNKNOWN = "callback of another thread"
#: How code schedules what blocks, given its event loop and a socket that can be read and written.
SCHEDULED: dict[
    str, Callable[[asyncio.AbstractEventLoop, Callable[[], None], socket.socket], Any]
] = {
    "task": lambda loop, block, _: loop.create_task(in_a_task(block)),
    "task of its own kind": lambda loop, block, _: asyncio.Task(in_a_task(block), loop=loop),
    "callback": lambda loop, block, _: loop.call_soon(block),
    "callback from a thread": lambda loop, block, _: loop.call_soon_threadsafe(block),
    "timer": lambda loop, block, _: loop.call_later(0, block),
    "reader": lambda loop, block, readable: loop.add_reader(readable, block),
    "writer": lambda loop, block, writable: loop.add_writer(writable, block),
}


@pytest.fixture(name="blocking")
def _blocking(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocking]:
    """Shorten what is waited for, and end what blocks afterwards."""
    monkeypatch.setattr(helper_loop, "_SIGNALS_HANDLED_EVERY", 0.05)
    for module in (helper_loop, single_flight):
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


def calls_in_the_thread() -> int:
    """Return how many calls the helper thread has that serves new ones."""
    loop = helper_thread._helper.get()._loop
    return 0 if loop is None else len(loop.calls)


def auth_that_blocks_two(sandbox: Sandbox, blocking: Blocking, **options: Any) -> TaxizerAuth:
    """Return an auth of which two logins each block a thread, and later ones none."""
    auth = auth_of(sandbox, blocking, **options)
    with pytest.raises(TokenEndpointUnavailableError):
        auth.sync_token()
    blocking.blocks = False
    return auth


def in_flight(sandbox: Sandbox, auth: TaxizerAuth) -> Callable[[], httpx.Request]:
    """Send a request; return what answers it with a 401, and returns what is sent then."""
    flow = auth.sync_auth_flow(httpx.Request("GET", f"{sandbox.base_url}{PATH}"))
    sent = next(flow)
    return lambda: flow.send(httpx.Response(401, request=sent))


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
            with contextlib.suppress(TokenStoreError):
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
@pytest.mark.parametrize("where", ["heartbeat", "listener"])
def test_all_code_of_an_account_counts(
    sandbox: Sandbox, blocking: Blocking, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Its store's code and its listeners' block two threads at most, as its credentials callable does."""
    sandbox.connect_latency = 0.5
    store = ScriptedStore(ManualClock())
    store.heartbeat = 0.05

    async def extend(lease: ScriptedLease) -> bool:
        lease.beats += 1
        # The first is that of the refresh itself, just before it asks.
        if lease.beats > 1:
            await blocking()
        return True

    async def listen(_: Event) -> None:
        await blocking()

    before = len(helper_threads())
    if where == "heartbeat":
        monkeypatch.setattr(ScriptedLease, "extend", extend)
        auth = auth_of(sandbox, store=store)
    else:
        auth = auth_of(sandbox, on_event=listen)
    ask_again_and_again(auth, blocking)

    assert len(helper_threads()) == before + 2 + 1


@pytest.mark.invariant(6)
@pytest.mark.parametrize("where", [*SCHEDULED, UNKNOWN])
def test_what_the_code_of_an_account_schedules_counts(
    sandbox: Sandbox, blocking: Blocking, where: str
) -> None:
    """
    It blocks two threads at most also in tasks and callbacks of its own.

    Nobody knows whose code another thread schedules: it counts if the thread has no calls of other accounts.
    """
    readable, other = socket.socketpair()

    async def read() -> Credentials:
        # What blocks its thread ends this, too.
        end = anyio.Event()

        def block_and_end() -> None:
            blocking.block()
            end.set()

        schedule = SCHEDULED.get(where, schedule_elsewhere)
        kept = schedule(asyncio.get_running_loop(), block_and_end, readable)
        await end.wait()
        del kept
        return sandbox.credentials

    before = len(helper_threads())
    with readable, other:
        other.send(b".")
        has_company = where != UNKNOWN
        ask_again_and_again(auth_of(sandbox, read), blocking if has_company else None)
        assert len(helper_threads()) == before + 2 + has_company
        blocking.end.set()
        wait_until(lambda: not helper_threads())


@pytest.mark.invariant(6)
def test_a_listener_that_is_called_without_a_loop_counts(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """What blocks the second thread is the same account's, whether a refresh or a request has called it."""

    async def listen(event: Event) -> None:
        if isinstance(event, (LoggedIn, OriginSkipped)):
            await blocking()

    before, auth = len(helper_threads()), auth_of(sandbox, on_event=listen)
    for number in range(4):
        with contextlib.suppress(TokenEndpointUnavailableError, TokenStoreError):
            auth.sync_token()
            auth.sync_forget()
        flow = auth.sync_auth_flow(httpx.Request("GET", f"https://other-{number}.test/"))
        next(flow)
        flow.close()

    assert len(helper_threads()) == before + 2


def schedule_elsewhere(
    loop: asyncio.AbstractEventLoop, block: Callable[[], None], _: socket.socket
) -> None:
    threading.Thread(target=loop.call_soon_threadsafe, args=(block,)).start()


def ask_again_and_again(auth: TaxizerAuth, blocking: Blocking | None) -> None:
    """
    Ask for a token four times, whatever comes of it, beside another account that waits until *blocking* ends.

    In the end that waits in a thread that is not blocked.
    """

    async def wait(end: threading.Event) -> None:
        while not end.is_set():  # noqa: ASYNC110 - it is set in another thread
            await anyio.sleep(0.01)

    for _ in range(4):
        if blocking is not None:
            helper_thread.submit(partial(wait, blocking.end), object())
        with contextlib.suppress(TokenEndpointUnavailableError, TokenStoreError):
            auth.sync_token()
            auth.sync_forget()


@pytest.mark.invariant(6)
def test_what_does_not_end_keeps_no_thread(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that ignores its cancellation, and a thread of an executor, are left behind when a thread ends."""
    monkeypatch.setattr(helper_loop, "_CANCELLED_FOR", 0.2)
    end = threading.Event()
    kept: list[asyncio.Task[None]] = []

    async def go_on() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(HANG)

    async def read() -> Credentials:
        kept.append(asyncio.create_task(go_on()))
        asyncio.get_running_loop().run_in_executor(None, end.wait)
        return sandbox.credentials

    auth = auth_of(sandbox, read)
    try:
        for _ in range(3):
            auth.sync_token()
            auth.sync_forget()
            wait_until(lambda: not helper_threads())
    finally:
        end.set()


@pytest.mark.invariant(7)
def test_nothing_is_kept_of_a_renewal_that_has_ended(sandbox: Sandbox) -> None:
    """Neither its event loop nor the token stays in memory for the auth's sake."""
    clock = ManualClock(start=time.time())
    auth = auth_of(sandbox, clock=clock)
    auth.sync_token()
    clock.advance(sandbox.lifetime - 60)
    auth.sync_token()
    wait_until(lambda: auth.status().renewals == 1 and not helper_threads())
    gc.collect()

    assert [each for each in gc.get_objects() if isinstance(each, helper_loop.HelperLoop)] == []


@pytest.mark.invariant(6)
def test_a_login_that_async_callers_have_left_counts(sandbox: Sandbox, blocking: Blocking) -> None:
    """Callers of another event loop that leave a blocked login first do not hide which account blocks."""
    auth, before = auth_of(sandbox, blocking), len(helper_threads())
    for _ in range(4):
        blocking.blocks = True
        asking = threading.Thread(target=run_in_threads, args=(1, auth.sync_token), daemon=True)
        asking.start()
        wait_until(lambda: blocking.begun.acquire(blocking=False) or not asking.is_alive())  # noqa: B023
        blocking.blocks = False
        assert anyio.run(auth.token).jwt.reveal() == sandbox.issued_jwts[-1]
        asking.join(HANG)
        anyio.run(auth.forget)
        while blocking.begun.acquire(blocking=False):
            pass

    assert len(helper_threads()) == before + 2


@pytest.mark.invariant(7)
def test_an_account_whose_renewal_was_stuck_is_renewed_ahead_again(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """A renewal in a thread that another account blocks does not stand for all later ones."""
    clock = ManualClock(start=time.time())
    auth = auth_of(sandbox, clock=clock)
    auth.sync_token()
    wait_until(lambda: not helper_threads())
    begin(auth_of(sandbox, blocking), blocking)
    blocking.blocks = False
    clock.advance(sandbox.lifetime - 60)
    auth.sync_token()
    clock.advance(45)
    renewed = auth.sync_token()
    assert auth.status().renewals == 1

    clock.advance(sandbox.lifetime - 60)
    assert auth.sync_token() == renewed
    wait_until(lambda: auth.status().renewals == 2)


@pytest.mark.invariant(7)
def test_an_account_that_blocks_two_threads_is_not_renewed_in_a_third(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """Nor ahead of need, while nobody waits."""
    clock = ManualClock(start=time.time())
    auth = auth_that_blocks_two(sandbox, blocking, clock=clock)
    token = anyio.run(auth.token)
    clock.advance(sandbox.lifetime - 60)

    assert auth.sync_token() == token
    assert calls_in_the_thread() == 0


@pytest.mark.invariant(6)
def test_forgetting_needs_no_thread(sandbox: Sandbox, blocking: Blocking) -> None:
    """The token is dropped in this process, and the error says that the store may still have it."""
    auth = auth_that_blocks_two(sandbox, blocking)
    anyio.run(auth.token)

    with pytest.raises(TokenStoreError, match="it is dropped in this process"):
        auth.sync_forget()
    assert auth.status().state == "none"


@pytest.mark.invariant(14)
def test_a_token_that_replaced_the_refused_one_is_not_waited_for(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late 401 is answered with the token in memory, and no thread is asked for it."""
    old, new, after_401 = overtaken(sandbox, auth)
    monkeypatch.setattr(sync_face, "call_and_wait", lambda *_, **__: pytest.fail("it waits"))
    again = after_401()

    assert again.headers["Authorization"] == f"Bearer {new.jwt.reveal()}"
    assert new != old


@pytest.mark.invariant(14)
def test_a_token_that_must_be_renewed_is_sent_instead_of_the_refused_one(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """While each thread is blocked, an old token that still works is better than an error."""
    clock = ManualClock(start=time.time())
    auth = auth_that_blocks_two(sandbox, blocking, clock=clock)
    old, new, after_401 = overtaken(sandbox, auth)
    clock.advance(sandbox.lifetime - 20)
    again = after_401()

    assert again.headers["Authorization"] == f"Bearer {new.jwt.reveal()}"
    assert auth.sync_refused(old) == new
    assert auth.sync_refused(new) is None


@pytest.mark.invariant(14)
def test_a_refused_token_that_no_thread_can_replace_is_an_error(
    sandbox: Sandbox, blocking: Blocking
) -> None:
    """The request fails as one that found no token does, and says what blocks."""
    auth = auth_that_blocks_two(sandbox, blocking)
    anyio.run(auth.token)
    after_401 = in_flight(sandbox, auth)

    with pytest.raises(TokenEndpointUnavailableError, match="waits without await"):
        after_401()


def overtaken(
    sandbox: Sandbox, auth: TaxizerAuth
) -> tuple[Token, Token, Callable[[], httpx.Request]]:
    """
    Send a request with a token that is replaced meanwhile.

    Return both tokens, and what `in_flight` returns.
    """
    old = anyio.run(auth.token)
    after_401 = in_flight(sandbox, auth)
    new = anyio.run(auth.refused, old)
    assert new is not None
    return old, new, after_401


@pytest.mark.invariant(6)
def test_the_callers_thread_is_not_blocked_as_well(
    sandbox: Sandbox, blocking: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other thread can be started, code that has blocked one does not run in the caller's."""
    starts = itertools.count()

    def start_one(call: Callable[[], object], name: str) -> threading.Thread:
        if next(starts):
            raise NoThreadError(at_exit=False)
        return start_thread(call, name)

    monkeypatch.setattr(helper_thread, "start_thread", start_one)
    with pytest.raises(TokenEndpointUnavailableError, match="waits without await"):
        auth_of(sandbox, blocking).sync_token()


@pytest.mark.invariant(6)
def test_a_token_that_still_works_is_used(
    sandbox: Sandbox, blocking: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that waits for a renewal goes on with the old token if each thread that it tries is blocked."""
    monkeypatch.setattr(helper_thread, "_TRIES", 1)
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
    assert calls_in_the_thread() == 2

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


@needs_fork
@pytest.mark.invariant(7)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_renewal_of_the_parent_does_not_stand_for_one_of_the_child(sandbox: Sandbox) -> None:
    """A child that is forked while its parent renews ahead of need does so, too."""
    clock = ManualClock(start=time.time())
    auth = auth_of(sandbox, clock=clock)
    auth.sync_token()
    wait_until(lambda: not helper_threads())
    clock.advance(sandbox.lifetime - 60)
    sandbox.refresh_latency = 0.5
    auth.sync_token()
    before = len(helper_threads())

    async def ask() -> None:
        assert not helper_threads()
        auth.sync_token()
        assert helper_threads()

    assert exit_code(fork(ask)) == 0
    assert before == 1
    wait_until(lambda: not helper_threads())


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async._auth import sync_face
from taxizer_async._core import helper_loop

helper_loop.BLOCKED_AFTER = 1.0
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
