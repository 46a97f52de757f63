"""A sandbox per test, an auth that logs in there, and which tests are marked."""

from __future__ import annotations

import time

from typing import TYPE_CHECKING, Final

import pytest

from taxizer_async.testing import ManualClock, Sandbox
from tests.support.callers import auth_of

from .collect import marks_of
from .write import TESTS, Marked, collect


if TYPE_CHECKING:
    from taxizer_async import TaxizerAuth


#: What this session has collected, if that is all there is.
_MARKED: Final = pytest.StashKey[Marked]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note the marks before an option deselects a test, or xdist gives it another name."""
    option = config.known_args_namespace
    chosen = {config.invocation_params.dir.joinpath(argument).resolve() for argument in config.args}
    if TESTS in chosen and not (option.ignore or option.ignore_glob):
        config.stash[_MARKED] = marks_of(items)


@pytest.fixture(name="marked", scope="session")
def _marked(pytestconfig: pytest.Config) -> Marked:
    """Collect in another process only what this one was not asked to collect."""
    marked = pytestconfig.stash.get(_MARKED, None)
    return collect() if marked is None else marked


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture(name="auth")
def _auth(sandbox: Sandbox) -> TaxizerAuth:
    return auth_of(sandbox)
