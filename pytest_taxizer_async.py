"""
The pytest plugin: fixtures for a sandbox, its credentials, a clock and an auth.

pytest loads it wherever the package is installed. So it is a module outside the package, whose import would
load httpx, and it imports only pytest until a fixture is used. The fixtures are sync, so they serve tests on
any event loop; override one to change its settings.
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
    A running `taxizer_async.testing.Sandbox` for this test, on a free loopback port.

    Raises:
        ImportError: If the extra is missing: `pip install "taxizer-async[sandbox]"`.
    """
    from taxizer_async.testing import Sandbox  # noqa: PLC0415 - see above

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def taxizer_credentials(taxizer_sandbox: Sandbox) -> Credentials:
    """The credentials that `taxizer_sandbox` accepts."""
    return taxizer_sandbox.credentials


@pytest.fixture
def taxizer_clock() -> ManualClock:
    """
    The clock of `taxizer_auth`: it starts with the machine's time, and `advance` moves it.

    Waits on it take no time, as each advances it to its end, so `keep_fresh` would renew without a pause.
    To test that, override this fixture with one that returns `ManualClock(start=time.time())`.
    """
    from taxizer_async.testing import ManualClock  # noqa: PLC0415 - see above

    return ManualClock(start=time.time(), autojump=True)


@pytest.fixture
def taxizer_auth(
    taxizer_sandbox: Sandbox, taxizer_credentials: Credentials, taxizer_clock: ManualClock
) -> TaxizerAuth:
    """A `TaxizerAuth` for `taxizer_sandbox` on `taxizer_clock`; it has no token yet."""
    from taxizer_async import TaxizerAuth  # noqa: PLC0415 - see above

    return TaxizerAuth(taxizer_credentials, base_url=taxizer_sandbox.base_url, clock=taxizer_clock)
