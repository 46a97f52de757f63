"""Sync callers in programs that fork, are interrupted, exit, or can start no thread."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import threading

from pathlib import Path

import httpx
import pytest

from taxizer_async import TaxizerAuth, TokenEndpointUnavailableError
from taxizer_async._core import helper_loop
from taxizer_async.stores.file import FileTokenStore
from taxizer_async.testing import Fault, Sandbox
from tests.support.callers import PATH, auth_of
from tests.support.forking import exit_code, needs_fork
from tests.support.limits import HANG
from tests.support.threads import helper_threads, refuse_threads, run_in_threads, wait_until
from tests.support.tokens import make_token


#: Seconds after which a program has not ended.
END = 50.0


def status_of(auth: TaxizerAuth) -> int:
    with httpx.Client(auth=auth, base_url=auth.base_url, trust_env=False) as client:
        return client.get(PATH).status_code


def fork(auth: TaxizerAuth) -> int:
    """Send a request in a forked child; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(int(HANG))  # one that hangs is ended
        try:
            status = 0 if status_of(auth) == 200 else 2
        finally:
            os._exit(status)
    return child


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("when", ["before", "after"])
def test_forked_children_share_a_store(sandbox: Sandbox, tmp_path: Path, when: str) -> None:
    """Children that were forked before or after the first use log in once with their parent, or not at all."""
    auth = auth_of(sandbox, store=FileTokenStore(tmp_path / "tokens"))
    if when == "after":
        auth.sync_token()
    children = [fork(auth) for _ in range(4)]
    assert status_of(auth) == 200
    assert [exit_code(child) for child in children] == [0] * 4

    sandbox.revoke()
    children = [fork(auth) for _ in range(4)]
    assert status_of(auth) == 200
    assert [exit_code(child) for child in children] == [0] * 4
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_during_a_login_makes_its_own(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper thread of the parent does not exist in the child, which starts one."""
    # It does so at once, and not as it would for one that is blocked.
    monkeypatch.setattr(helper_loop, "BLOCKED_AFTER", math.inf)
    with sandbox.hold("connect") as gate:
        waiting = threading.Thread(target=auth.sync_token, daemon=True)
        waiting.start()
        gate.wait_until(1)
        child = fork(auth)
        gate.wait_until(2)
    waiting.join(END)

    assert exit_code(child) == 0
    assert sandbox.counters.connects == 2


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
import anyio, gevent, httpx
from taxizer_async import Credentials, TaxizerAuth

async def read():
    queue_up.set()
    await anyio.sleep(0.3)
    return Credentials("sandbox-client", "sandbox-secret")

def send(number):
    if number:
        queue_up.wait()
    print(client.get("/v1/x").status_code)

queue_up = gevent.event.Event()
auth = TaxizerAuth(read, base_url=sys.argv[1])
with httpx.Client(auth=auth, base_url=auth.base_url, trust_env=False) as client:
    gevent.joinall([gevent.spawn(send, number) for number in range(5)], raise_error=True)
"""


@pytest.mark.invariant(3)
def test_greenlets_wait_for_one_login(sandbox: Sandbox) -> None:
    """Under gevent, as in workers of gunicorn and Celery, greenlets that come during a login wait for it."""
    command = [sys.executable, "-c", GREENLETS, sandbox.base_url]
    done = subprocess.run(command, capture_output=True, check=False, timeout=END, text=True)

    assert (done.stdout, done.stderr) == ("200\n" * 5, "")
    assert sandbox.counters.connects == 1


INTERRUPTED = """
import signal, sys, threading, time
import httpx
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async.testing import Sandbox

# A shell starts what runs in the background with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Sandbox() as sandbox:
    auth = TaxizerAuth(sandbox.credentials, base_url=sandbox.base_url)
    client = httpx.Client(auth=auth, base_url=auth.base_url)
    with sandbox.hold("connect") as gate:
        def interrupt():
            gate.wait_until(1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            client.get("/v1/x")
        except KeyboardInterrupt:
            print("interrupted", sandbox.counters.connects_ok)
        other = threading.Thread(target=lambda: print(client.get("/v1/x").status_code))
        other.start()
    other.join()
    print(sandbox.counters.connects)
    client.close()
"""


@pytest.mark.invariant(5)
@pytest.mark.skipif(not hasattr(threading, "get_native_id"), reason="signals are sent otherwise")
def test_an_interrupt_ends_the_caller_and_not_the_login() -> None:
    """KeyboardInterrupt ends the wait at once, and another thread is served by the login that goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", INTERRUPTED],
        capture_output=True,
        check=False,
        timeout=END,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("interrupted 0\n200\n1\n", "")


AT_EXIT = """
import atexit, sys, threading
import httpx
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async.stores.file import FileTokenStore

base_url, used_before, threads, folder = sys.argv[1:]
store = FileTokenStore(folder) if folder else None
auth = TaxizerAuth(Credentials("sandbox-client", "sandbox-secret"), base_url=base_url, store=store)

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

@atexit.register
def flush():
    if threads == "none":
        threading.Thread.start = refuse
    with httpx.Client(auth=auth, base_url=base_url) as client:
        print(client.get("/v1/x").status_code)

if used_before == "yes":
    auth.sync_token()
    auth.sync_forget()
"""


@pytest.mark.invariant(23)
@pytest.mark.report(131)
@pytest.mark.parametrize("threads", ["as they are", "none"])
@pytest.mark.parametrize("used_before", ["yes", "no"])
@pytest.mark.parametrize("store", ["memory", "file"])
def test_a_sync_program_can_flush_as_it_exits(
    sandbox: Sandbox, tmp_path: Path, store: str, used_before: str, threads: str
) -> None:
    """A sync request in an atexit handler logs in, though no thread can be started there in Python 3.12."""
    # By its name, which has to be looked up.
    url = sandbox.base_url.replace("127.0.0.1", "localhost")
    folder = str(tmp_path / "tokens") if store == "file" else ""
    command = [sys.executable, "-W", "default", "-c", AT_EXIT, url, used_before, threads, folder]
    done = subprocess.run(command, capture_output=True, check=True, timeout=END, text=True)

    assert (done.stdout, done.stderr) == ("200\n", "")
    assert sandbox.counters.connects_ok == 1 + (used_before == "yes")


@pytest.mark.invariant(5)
@pytest.mark.parametrize("seconds", ["0.5", "1000"])
def test_a_login_gets_two_seconds_when_the_program_ends(
    sandbox: Sandbox, tmp_path: Path, seconds: str
) -> None:
    """What was sent is finished and saved if it takes no longer; else the program ends all the same."""
    code = """
import sys, threading, time
from taxizer_async import Credentials, TaxizerAuth
from taxizer_async.stores.file import FileTokenStore

base_url, folder = sys.argv[1:]
pair = Credentials("sandbox-client", "sandbox-secret")
auth = TaxizerAuth(pair, base_url=base_url, store=FileTokenStore(folder))
threading.Thread(target=auth.sync_token, daemon=True).start()
sys.stdin.read(1)
"""
    folder = tmp_path / "tokens"
    sandbox.fail("connect", Fault.hang(float(seconds)))
    with subprocess.Popen(
        [sys.executable, "-c", code, sandbox.base_url, str(folder)], stdin=subprocess.PIPE
    ) as program:
        sandbox.wait_until(lambda counters: counters.connects == 1)
        try:
            # Left to itself, the login would take 30 s.
            program.communicate(b"x", timeout=HANG)
        finally:
            program.kill()

    assert program.returncode == 0
    auth = auth_of(sandbox, store=FileTokenStore(folder))
    if seconds == "0.5":
        assert status_of(auth) == 200
        assert sandbox.counters.connects == 1


@pytest.mark.invariant(22)
@pytest.mark.report(130)
def test_without_threads_a_login_runs_in_the_callers(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started the caller runs the login itself, and the renewal after a 401."""
    refuse_threads(monkeypatch)
    assert status_of(auth) == 200
    sandbox.revoke()
    assert status_of(auth) == 200
    assert (sandbox.counters.connects, sandbox.counters.refreshes) == (1, 1)


@pytest.mark.invariant(22)
@pytest.mark.report(130)
async def test_without_threads_and_in_a_loop_it_is_a_retryable_error(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync caller whose thread runs an event loop has nothing to wait with, and is told so."""
    with monkeypatch.context() as patch:
        refuse_threads(patch)
        with pytest.raises(
            TokenEndpointUnavailableError, match="no thread can be started"
        ) as caught:
            status_of(auth)
    assert caught.value.retryable
    assert status_of(auth) == 200
    assert sandbox.counters.connects == 1


@pytest.mark.report(130)
async def test_without_threads_and_in_a_loop_a_refusal_is_final_for_now(
    auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync_refused` raises nothing there either: there is no other token."""
    refuse_threads(monkeypatch)

    assert auth.sync_refused(make_token()) is None


@pytest.mark.invariant(22)
@pytest.mark.report(130)
@needs_fork
def test_a_lack_of_descriptors_passes(sandbox: Sandbox, auth: TaxizerAuth) -> None:
    """A sync caller that finds no descriptor for an event loop gets a retryable error."""
    auth_of(sandbox).sync_token()  # loads what is loaded at the first use
    wait_until(lambda: not helper_threads())  # it has an event loop
    taken: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        try:
            while True:
                taken.append(os.dup(0))
        except OSError as full:
            del full
        with pytest.raises(TokenEndpointUnavailableError, match="Too many open files") as caught:
            auth.sync_token()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)

    assert caught.value.retryable
    assert auth.sync_token().jwt.reveal()


def test_many_auths_share_one_thread(sandbox: Sandbox) -> None:
    """The logins of 50 accounts at once take one helper thread."""
    seen: list[int] = []
    with sandbox.hold("connect") as gate:
        crowd = threading.Thread(
            target=lambda: seen.extend(
                run_in_threads(50, lambda: status_of(auth_of(sandbox)))  # type: ignore[arg-type]
            ),
            daemon=True,
        )
        crowd.start()
        gate.wait_until(50)
        threads = len(helper_threads())
    crowd.join(END)
    wait_until(lambda: not helper_threads())

    assert threads == 1
    assert seen == [200] * 50
