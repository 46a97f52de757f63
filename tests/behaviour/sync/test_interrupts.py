"""A KeyboardInterrupt at any moment of a sync call ends that call, and harms no other."""

from __future__ import annotations

import gc
import itertools
import math
import signal
import sys
import threading

from collections.abc import Callable
from types import FrameType

import anyio
import httpx
import pytest

from taxizer_async import AuthError, Credentials, RenewalPolicy, TaxizerAuth
from taxizer_async._core import helper_loop, helper_thread
from taxizer_async.testing import Sandbox
from tests.support.callers import PATH, auth_of
from tests.support.limits import HANG
from tests.support.threads import helper_threads, refuse_threads, run_in_threads, wait_until


def interrupted(call: Callable[[], object], moment: int) -> BaseException | None:
    """
    Make *call* with a KeyboardInterrupt, and return that; None if it ended before.

    Python handles signals where a function begins, among others: this is the start number *moment*.
    """
    starts = itertools.count(1)

    def trace(_: FrameType, event: str, __: object) -> None:
        if event == "call" and next(starts) == moment:
            sys.settrace(None)
            raise KeyboardInterrupt

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the test keeps it, with all frames, as a notebook does
        return error
    finally:
        sys.settrace(before)
    return None if next(starts) <= moment else KeyboardInterrupt()  # one that Python ignored


def cold(auth: TaxizerAuth, _: Sandbox) -> Callable[[], object]:
    return auth.sync_token


def refused(auth: TaxizerAuth, sandbox: Sandbox) -> Callable[[], object]:
    token = auth.sync_token()
    sandbox.revoke()
    return lambda: auth.sync_refused(token)


def forgotten(auth: TaxizerAuth, _: Sandbox) -> Callable[[], object]:
    auth.sync_token()
    return auth.sync_forget


def unauthorized(auth: TaxizerAuth, _: Sandbox) -> Callable[[], object]:
    auth.sync_token()
    request = httpx.Request("GET", f"{auth.base_url}{PATH}")
    flow = auth.sync_auth_flow(request)
    next(flow)
    return lambda: flow.send(httpx.Response(401, request=request))


@pytest.mark.invariant(5)
# Python ignores one within a callback of a weak reference.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("prepare", [cold, refused, forgotten, unauthorized])
def test_an_interrupt_in_any_function_harms_no_other_thread(
    sandbox: Sandbox, prepare: Callable[[TaxizerAuth, Sandbox], Callable[[], object]]
) -> None:
    """Whichever function is interrupted, another thread gets a token: no lock stays taken, and no thread waits."""
    auth_of(sandbox).sync_token()  # imports what is imported at the first use
    errors: list[BaseException] = []
    for moment in itertools.count(1):
        auth = auth_of(sandbox)
        error = interrupted(prepare(auth, sandbox), moment)
        if error is None:
            break
        errors.append(error)
        (token,) = run_in_threads(1, auth.sync_token)
        assert not isinstance(token, BaseException), moment
    wait_until(lambda: not helper_threads())

    kinds = [type(each) for each in errors]
    # What they have left open is no other test's.
    errors.clear()
    gc.collect()

    assert len(kinds) > 10
    # Python's own start of a thread may make a RuntimeError of it.
    assert set(kinds) <= {KeyboardInterrupt, RuntimeError}


@pytest.mark.invariant(5)
def test_an_interrupt_while_the_thread_starts_harms_nobody(
    sandbox: Sandbox, auth: TaxizerAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper thread that was kept from running is not waited for: the next caller starts another."""

    def interrupt(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            auth.sync_token()
    gc.collect()
    (token,) = run_in_threads(1, auth.sync_token)

    assert not isinstance(token, BaseException)
    assert sandbox.counters.connects == 1


@pytest.mark.invariant(6)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_call_that_has_not_begun_when_the_thread_ends_is_ended(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the user's code ends the helper thread's loop, a call that is queued there does not wait for ever."""
    # It ends at once, and not by the rule for blocked threads.
    monkeypatch.setattr(helper_loop, "BLOCKED_AFTER", math.inf)
    queued = threading.Event()
    results: list[object] = []

    async def read() -> object:
        waiting.start()
        # Blocks the loop, so that the other call can't begin.
        wait_until(lambda: len(helper_thread._helper.get()._loop.calls) == 2)  # type: ignore[union-attr]
        queued.set()
        raise KeyboardInterrupt

    policy = RenewalPolicy(outage_backoff=0.001)
    other = auth_of(sandbox)
    waiting = threading.Thread(
        target=lambda: results.extend(run_in_threads(1, other.sync_token)), daemon=True
    )
    with pytest.raises(AuthError, match="the thread in which that was done has ended"):
        auth_of(sandbox, read, policy=policy).sync_token()
    waiting.join(HANG)
    # Its exception is told as its own, and not as the next test's.
    wait_until(lambda: not helper_threads())

    assert queued.is_set()
    assert len(results) == 1
    assert other.sync_token().jwt.reveal()


@pytest.mark.invariant(6)
def test_without_threads_an_interrupt_cancels_the_login(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C strikes where a login in the caller's thread waits, and not anywhere in the code that it runs."""
    done: list[str] = []

    async def read() -> Credentials:
        signal.raise_signal(signal.SIGINT)
        done.append("goes on")
        await anyio.sleep(HANG)
        return sandbox.credentials

    refuse_threads(monkeypatch)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            auth_of(sandbox, read).sync_token()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["goes on"]
