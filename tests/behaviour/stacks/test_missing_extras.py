"""Adapters without their library."""

from __future__ import annotations

import sys

import pytest

from tests.support import families


@pytest.mark.parametrize("library", ["aiohttp", "httpx2"])
def test_a_missing_extra_is_named(library: str) -> None:
    """Without its library an adapter can't be imported, and says what to install."""
    code = f"import sys; sys.modules['{library}'] = None; import taxizer_async.{library}"
    done = families.run([sys.executable, "-c", code])

    assert done.stderr.strip().endswith(
        f'taxizer_async.{library} needs {library}: pip install "taxizer-async[{library}]"'
    )
