"""Fixtures for tests of one module."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from hypothesis import settings

from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._token.cache import TokenCache
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.canaries import exposures
from tests.support.loops import Refreshes
from tests.support.tokens import make_cached


# How long an example takes depends on the machine.
settings.register_profile("core", deadline=None)
settings.register_profile("mutation", deadline=None, derandomize=True, max_examples=30)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "core"))

CANARY = "c4n4ry-5ecret"


class InChild(Protocol):
    """Runs a check in a forked child; False if it is False, raises, or hangs for seconds."""

    def __call__(self, check: Callable[[], bool], /) -> bool: ...


class ThreadWithin(Protocol):
    """Keeps a thread inside a context, such as one that holds a lock at a fork."""

    def __call__(
        self, enter: Callable[[], AbstractContextManager[object]]
    ) -> AbstractContextManager[None]: ...


@pytest.fixture(name="canary")
def _canary() -> str:
    return CANARY


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(name="policy")
def _policy() -> RenewalPolicy:
    return RenewalPolicy()


@pytest.fixture(name="cache")
def _cache(policy: RenewalPolicy, clock: ManualClock) -> TokenCache:
    return TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id="app")


@pytest.fixture(name="refreshes")
def _refreshes() -> Refreshes:
    return Refreshes(make_cached())


@pytest.fixture(name="leaks")
def _leaks() -> Callable[[BaseException], list[str]]:
    """Return the places in an exception, its causes and the package's frames that show the canary."""
    return lambda error: exposures([CANARY], [], [error])


@pytest.fixture(name="in_child")
def _in_child() -> InChild:
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")

    def in_child(check: Callable[[], bool], /) -> bool:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(5)
            status = 1
            try:
                status = 0 if check() else 1
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        return status == 0

    return in_child


@pytest.fixture(name="thread_within")
def _thread_within() -> ThreadWithin:
    @contextlib.contextmanager
    def thread_within(enter: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
        entered, leave = threading.Event(), threading.Event()

        def stay() -> None:
            with enter():
                entered.set()
                leave.wait(30)

        thread = threading.Thread(target=stay)
        thread.start()
        assert entered.wait(10)
        try:
            yield
        finally:
            leave.set()
            thread.join()

    return thread_within
