"""
The pytest plugin: a sandbox, its credentials, a clock and an auth, as fixtures.

It is loaded in every pytest run of an environment that has the package, so it is no part of the package,
whose import loads httpx: nothing but pytest is imported here before a fixture is asked for. The fixtures
are sync, so they serve tests of any event loop; whoever wants other settings overrides one.
"""

from __future__ import annotations

import time

from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async import Credentials, TaxizerAuth
    from taxizer_async.testing import ManualClock, Sandbox


__all__ = ["taxizer_auth", "taxizer_clock", "taxizer_credentials", "taxizer_sandbox"]


@pytest.fixture
def taxizer_sandbox() -> Iterator[Sandbox]:
    """
    A running `taxizer_async.testing.Sandbox` of this test's own; its port is free and on loopback.

    Raises:
        ImportError: If the extra is missing: `pip install "taxizer-async[sandbox]"`.
    """
    from taxizer_async.testing import Sandbox  # noqa: PLC0415 - see above

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def taxizer_credentials(taxizer_sandbox: Sandbox) -> Credentials:
    """The pair that `taxizer_sandbox` accepts."""
    return taxizer_sandbox.credentials


@pytest.fixture
def taxizer_clock() -> ManualClock:
    """
    The clock of `taxizer_auth`: it starts with the machine's time, and `advance` moves it.

    Waits on it take no time, as each moves it to its own end; so `keep_fresh` on it renews without a
    pause. For that, override this fixture with one that returns `ManualClock(start=time.time())`.
    """
    from taxizer_async.testing import ManualClock  # noqa: PLC0415 - see above

    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture
def taxizer_auth(
    taxizer_sandbox: Sandbox, taxizer_credentials: Credentials, taxizer_clock: ManualClock
) -> TaxizerAuth:
    """A `TaxizerAuth` for `taxizer_sandbox` that goes by `taxizer_clock`; it has no token yet."""
    from taxizer_async import TaxizerAuth  # noqa: PLC0415 - see above

    return TaxizerAuth(taxizer_credentials, base_url=taxizer_sandbox.base_url, clock=taxizer_clock)
