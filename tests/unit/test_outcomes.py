from __future__ import annotations

from typing import Any, cast

import attrs
import pytest

from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from tests.support.tokens import make_issued


@pytest.mark.parametrize(
    "outcome",
    [
        Refused(status_code=400),
        Unavailable(reason="gone"),
        Malformed(status_code=200, excerpt="a list"),
        Misconfigured(reason="wrong"),
    ],
    ids=lambda o: type(o).__name__,
)
def test_outcomes_are_values(outcome: Any) -> None:
    """Outcomes are immutable, as all callers that waited share one."""
    assert outcome == attrs.evolve(outcome)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        cast("Any", outcome).reason = "other"


def test_a_silence_says_nothing() -> None:
    """By default an outage has no status, no `Retry-After`, and may have been processed."""
    silence = Unavailable(reason="ReadTimeout")

    assert silence.status_code is None
    assert silence.retry_after is None
    assert not silence.not_processed


def test_an_issued_token_is_masked() -> None:
    """The repr of an outcome shows no secret."""
    assert "jwt-1" not in repr(make_issued())
    assert "refresh-1" not in repr(make_issued())
