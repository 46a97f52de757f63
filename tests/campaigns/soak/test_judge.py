"""The judge tells what could have been saved from what could not."""

from __future__ import annotations

import math
import time

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

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


def unavailable(*, seconds: float = 0.1) -> TokenEndpointUnavailableError:
    retry_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return TokenEndpointUnavailableError("", endpoint="/v1", status_code=503, retry_at=retry_at)


def failed(error: Exception | str, *, began: float = 0.0, token_ends: float = -math.inf) -> Failed:
    now = time.monotonic()
    return Failed(who="one", began=now + began, ended=now, token_ends=token_ends, error=error)


@pytest.fixture(name="judge")
def _judge() -> Judge:
    return Judge()


def test_no_request_fails_in_fair_weather(judge: Judge) -> None:
    """A failure while all is well could have been saved."""
    judge.failed(failed(unavailable()))

    assert judge.violated == 1


@pytest.mark.parametrize("after", [0.0, REMEMBERED / 2])
def test_requests_may_fail_in_an_outage(judge: Judge, after: float) -> None:
    """The right error is right during an outage, and while it is remembered."""
    judge.begin_outage(REVOKING)
    judge.end_outage()
    judge.failed(failed(unavailable(), began=after))

    assert judge.violated == 0
    assert judge.counts["TokenEndpointUnavailableError in an outage"] == 1


def test_an_outage_is_over_some_time(judge: Judge) -> None:
    """Once it can no longer be remembered, a failure could have been saved."""
    judge.begin_outage(REVOKING)
    judge.end_outage()
    judge.failed(failed(unavailable(), began=REMEMBERED + 0.1))

    assert judge.violated == 1


def test_what_failed_before_an_outage_is_not_excused(judge: Judge) -> None:
    """A failure that was over when the outage began could have been saved."""
    before = failed(unavailable())
    judge.begin_outage(REVOKING)
    judge.failed(before)

    assert judge.violated == 1


@pytest.mark.parametrize(("outage", "violated"), [(KEEPING, 1), (REVOKING, 0)])
def test_a_living_token_is_used(judge: Judge, outage: Outage, violated: int) -> None:
    """Nobody fails with a living token in hand, unless it was revoked."""
    judge.begin_outage(outage)
    judge.failed(failed(unavailable(), token_ends=time.monotonic() + 1.0))

    assert judge.violated == violated


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: "HTTP 500",
        OSError,
        lambda: TokenResponseError("", endpoint="/v1", retry_at=datetime.now(UTC)),
        lambda: TokenEndpointUnavailableError("", retry_at=datetime.now(UTC)),
        lambda: TokenEndpointUnavailableError("", endpoint="/v1"),
        lambda: unavailable(seconds=REMEMBERED + 1.0),
    ],
    ids=["an answer", "untyped", "another type", "no endpoint", "no time", "a late time"],
)
def test_the_error_is_the_right_one(judge: Judge, wrong: Callable[[], Exception | str]) -> None:
    """Any other error than the typed one, with all it has to tell, breaks a rule."""
    judge.begin_outage(REVOKING)
    judge.failed(failed(wrong()))

    assert judge.violated == 1


@pytest.mark.parametrize(
    "cause",
    [
        LeaseNeverFree(4.0),
        Unavailable(reason="there was no time left to ask it", not_processed=True),
    ],
)
def test_a_lease_may_be_taken_all_the_time(
    judge: Judge, cause: LeaseNeverFree | Unavailable
) -> None:
    """Whatever the outage, who waits for the login of another may fail before that does."""
    judge.begin_outage(attrs.evolve(REVOKING, error=TokenResponseError))
    failure = Failure(
        cause=cause,
        endpoint="/v1",
        until=0.0,
        retry_at=time.time(),
        rejected=None,
        rejected_until=0.0,
        ahead_of_need=False,
    )
    judge.failed(failed(failure.error()))

    assert judge.violated == 0


@pytest.mark.parametrize("overran", [False, True])
def test_a_shower_is_judged_once_it_is_over(judge: Judge, *, overran: bool) -> None:
    """What fails in a shower could have been saved, unless the shower was longer than it should be."""
    judge.begin_shower()
    judge.failed(failed(unavailable()))
    assert judge.violated == 0
    judge.end_shower(overran=overran)

    assert judge.violated == (not overran)
    assert judge.counts["failed as a shower overran"] == overran


@pytest.mark.parametrize(("began", "violated"), [(-1.0, 0), (REVOKED_WITHIN + 0.5, 1)])
def test_who_is_under_way_at_a_revocation_may_be_refused_twice(
    judge: Judge, began: float, violated: int
) -> None:
    """A request that begins after it meets one refusal at most, from which it can be saved."""
    judge.note_revocation()
    judge.failed(failed("HTTP 401", began=began))

    assert judge.violated == violated


def test_a_401_without_a_revocation_could_have_been_saved(judge: Judge) -> None:
    """An outage that leaves tokens alone excuses no refusal."""
    judge.begin_outage(KEEPING)
    judge.failed(failed("HTTP 401"))

    assert judge.violated == 1
