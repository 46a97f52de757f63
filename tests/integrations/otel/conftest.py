"""The real SDK in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.otel.recorded import Recorded


if TYPE_CHECKING:
    from collections.abc import Iterator

    from taxizer_async.testing import Sandbox


@pytest.fixture(name="recorded")
def _recorded(sandbox: Sandbox) -> Iterator[Recorded]:
    recorded = Recorded(sandbox)
    yield recorded
    recorded.close()
