"""A sandbox with a secret that is easy to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taxizer_async.testing import Sandbox
from tests.support.canaries import SECRET


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox(client_secret=SECRET) as sandbox:
        yield sandbox
