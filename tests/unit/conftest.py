"""Values for tests of the core, and the search for a secret in a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from hypothesis import settings

from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._token.cache import TokenCache
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.loops import Refreshes
from tests.support.tokens import make_cached


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


# How long an example takes depends on the machine.
settings.register_profile("core", deadline=None)
settings.load_profile("core")

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


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _chain(error.__cause__, seen)
    yield from _chain(error.__context__, seen)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _chain(each, seen)


def _safe_repr(value: object) -> str:
    # The repr of a half-made object may raise, which error reporters survive, too.
    with contextlib.suppress(Exception):
        return repr(value)
    return ""


@pytest.fixture(name="leaks")
def _leaks() -> Callable[[BaseException], list[str]]:
    """Return the places in an exception, its causes, notes and foreign frames that show the canary."""

    def leaks(error: BaseException) -> list[str]:
        found = []
        for each in _chain(error, set()):
            texts = {
                "str": str(each),
                "repr": repr(each),
                "args": repr(each.args),
                "vars": repr(vars(each)),
                "notes": repr(getattr(each, "__notes__", ())),
            }
            found += [f"{type(each).__name__}: {k}" for k, v in texts.items() if CANARY in v]
            for frame, line in traceback.walk_tb(each.__traceback__):
                file = Path(frame.f_code.co_filename).name
                if file.startswith("test_"):
                    continue
                found += [
                    f"{file}:{line} {name}"
                    for name, value in frame.f_locals.items()
                    if CANARY in _safe_repr(value)
                ]
        return found

    return leaks


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
