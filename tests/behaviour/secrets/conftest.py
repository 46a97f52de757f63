"""A sandbox with a secret that is easy to find."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taxizer_async.testing import Sandbox
from tests.support.canaries import SECRET


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox(client_secret=SECRET) as sandbox:
        yield sandbox
