"""The real SDK in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taxizer_async.testing import Sandbox
from tests.integrations.otel.recorded import Recorded


@pytest.fixture(name="recorded")
def _recorded(sandbox: Sandbox) -> Iterator[Recorded]:
    recorded = Recorded(sandbox)
    yield recorded
    recorded.close()
