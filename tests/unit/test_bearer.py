from __future__ import annotations

import pytest

from taxizer_async._auth.bearer import tells_of_token


@pytest.mark.parametrize(
    ("status", "tells"),
    [(200, True), (404, True), (428, True), (429, False), (430, True), (499, True), (500, False)],
)
def test_tells_of_token(*, status: int, tells: bool) -> None:
    """An answer that a gateway may give by itself shows nothing of the token."""
    assert tells_of_token(status) is tells
