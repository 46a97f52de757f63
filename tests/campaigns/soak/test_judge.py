"""The judge tells failures that could have been avoided from those that could not."""

from __future__ import annotations

import math
import time

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from taxizer_async import TokenEndpointUnavailableError, TokenResponseError
from taxizer_async._core.exchange import Unavailable
from taxizer_async._token.failures import Failure, LeaseNeverFree
from tests.campaigns.soak.judge import REVOKED_WITHIN, SLACK, Failed, Judge
from tests.campaigns.soak.weather import LONGEST_BACKOFF, Outage


if TYPE_CHECKING:
    from collections.abc import Callable


REMEMBERED = LONGEST_BACKOFF + SLACK
REVOKING = Outage(kind="503", seconds=1.0, revoked=True, error=TokenEndpointUnavailableError)
KEEPING = attrs.evolve(REVOKING, revoked=False)
JUNK = attrs.evolve(REVOKING, error=TokenResponseError)


def unavailable(**changes: Any) -> TokenEndpointUnavailableError:
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    told: dict[str, Any] = {"endpoint": "/v1", "retry_at": soon, **changes}
    return TokenEndpointUnavailableError("", **told)


def late() -> TokenEndpointUnavailableError:
    return unavailable(retry_at=datetime.now(UTC) + timedelta(seconds=REMEMBERED + 1.0))


def of_another_type() -> TokenResponseError:
    return TokenResponseError("", endpoint="/v1", retry_at=datetime.now(UTC))


def came_to_nothing(cause: LeaseNeverFree | Unavailable) -> Callable[[], Exception]:
    return Failure(
        cause=cause,
        endpoint="/v1",
        until=0.0,
        retry_at=time.time(),
        rejected=None,
        rejected_until=0.0,
        ahead_of_need=False,
    ).error


def failed(error: Exception | str, *, began: float = 0.0, token_lives: float = -math.inf) -> Failed:
    now = time.monotonic()
    return Failed(
        auth="one", began=now + began, ended=now, token_ends=now + token_lives, error=error
    )


@pytest.mark.parametrize(
    ("outage", "error", "times", "violated"),
    [
        pytest.param(None, unavailable, {}, 1, id="in fair weather"),
        pytest.param(REVOKING, unavailable, {}, 0, id="in an outage"),
        pytest.param(REVOKING, unavailable, {"began": REMEMBERED / 2}, 0, id="remembered"),
        pytest.param(REVOKING, unavailable, {"began": REMEMBERED + 0.1}, 1, id="forgotten"),
        pytest.param(KEEPING, unavailable, {"token_lives": 1.0}, 1, id="with a living token"),
        pytest.param(REVOKING, unavailable, {"token_lives": 1.0}, 0, id="with a revoked token"),
        pytest.param(REVOKING, lambda: "HTTP 500", {}, 1, id="an answer"),
        pytest.param(REVOKING, OSError, {}, 1, id="untyped"),
        pytest.param(REVOKING, of_another_type, {}, 1, id="another type"),
        pytest.param(REVOKING, lambda: unavailable(endpoint=None), {}, 1, id="no endpoint"),
        pytest.param(REVOKING, lambda: unavailable(retry_at=None), {}, 1, id="no time"),
        pytest.param(REVOKING, late, {}, 1, id="a late time"),
        pytest.param(JUNK, came_to_nothing(LeaseNeverFree(4.0)), {}, 0, id="lease never free"),
        pytest.param(
            JUNK,
            came_to_nothing(Unavailable(reason="there was no time left", not_processed=True)),
            {},
            0,
            id="no time left",
        ),
        pytest.param(KEEPING, lambda: "HTTP 401", {}, 1, id="a 401 without a revocation"),
        pytest.param(REVOKING, lambda: "HTTP 401", {"began": -1.0}, 0, id="refused twice"),
        pytest.param(
            REVOKING, lambda: "HTTP 401", {"began": REVOKED_WITHIN + 0.5}, 1, id="a late 401"
        ),
    ],
)
def test_a_failure_is_judged(
    outage: Outage | None,
    error: Callable[[], Exception | str],
    times: dict[str, float],
    violated: int,
) -> None:
    """A request may fail only because of an outage, and with the error that is meant for it."""
    judge = Judge()
    if outage is not None:
        judge.begin_outage(outage)
        judge.end_outage()
    judge.failed(failed(error(), **times))

    assert judge.violated == violated


def test_a_failure_before_an_outage_is_not_excused() -> None:
    """A failure that was over when the outage began could have been avoided."""
    judge, before = Judge(), failed(unavailable())
    judge.begin_outage(REVOKING)
    judge.failed(before)

    assert judge.violated == 1


@pytest.mark.parametrize("overran", [False, True])
def test_a_shower_is_judged_once_it_is_over(*, overran: bool) -> None:
    """A failure in a shower could have been avoided, unless the shower lasted too long."""
    judge = Judge()
    judge.begin_shower()
    judge.failed(failed(unavailable()))
    assert judge.violated == 0
    judge.end_shower(overran=overran)

    assert judge.violated == (not overran)
    assert judge.counts["failed as a shower overran"] == overran
