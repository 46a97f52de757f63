from __future__ import annotations

import pytest

from taxizer_async import Credentials
from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.failures import Cause, CredentialsUnavailable, Failure, LeaseNeverFree
from taxizer_async.testing._manual_clock import ManualClock
from tests.support.tokens import issue, make_cached, make_failure


PAIR = Credentials("app", "s3cret")
OUTAGE = Unavailable(reason="answered 503", status_code=503)
NO = Refused(status_code=400)


def _outage(cache: TokenCache, cause: Cause = OUTAGE) -> Failure:
    return cache.record_failure(cause, endpoint="/c", rejected=None, recheck=False)


def _wait(failure: Failure, clock: ManualClock) -> float:
    return failure.until - clock.monotonic()


def test_a_failure_is_served_until_its_time(cache: TokenCache, clock: ManualClock) -> None:
    """A failure is served from memory until its moment, and stays known after that."""
    failure = _outage(cache)
    assert cache.active_failure() is failure
    clock.advance(0.999)
    assert cache.active_failure() is failure
    clock.advance(0.001)

    assert cache.active_failure() is None
    assert cache.state.failure is failure


@pytest.mark.parametrize(
    "cause",
    [
        OUTAGE,
        Malformed(status_code=200, excerpt="a list"),
        Misconfigured(reason="wrong"),
        CredentialsUnavailable("raised OSError"),
        LeaseNeverFree(30.0),
    ],
    ids=lambda c: type(c).__name__,
)
def test_backoff_doubles(cache: TokenCache, clock: ManualClock, cause: Cause) -> None:
    """Failures in a row are remembered for 1 s, doubling to 5 s."""
    waits = []
    for _ in range(7):
        failure = _outage(cache, cause)
        waits.append(_wait(failure, clock))
        clock.advance(waits[-1])

    assert waits == [1, 2, 4, 5, 5, 5, 5]
    assert cache.state.failures == 7


def test_success_restarts_the_backoff(cache: TokenCache, clock: ManualClock) -> None:
    """After a success the back-off starts at 1 s again."""
    for _ in range(5):
        _outage(cache)
    issue(cache, make_cached())

    assert _wait(_outage(cache), clock) == 1


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        pytest.param(3300, 30.0, id="long to live"),
        pytest.param(3560, 20.0, id="40 s left: half of them"),
        pytest.param(3598.5, 1.0, id="but no less than the first wait"),
        pytest.param(3600, 30.0, id="dead"),
    ],
)
def test_the_last_try_is_not_slept_through(
    cache: TokenCache, clock: ManualClock, age: float, wait: float
) -> None:
    """While the token lives, the back-off is at most half of what is left."""
    issue(cache, make_cached())
    clock.advance(age)
    failure = _outage(cache, Unavailable(reason="429", retry_after=60.0))

    assert _wait(failure, clock) == wait


def test_a_token_without_an_end_caps_nothing(cache: TokenCache, clock: ManualClock) -> None:
    """A token that is used until refused leaves the back-off as it is."""
    issue(cache, make_cached(lifetime=0.0))

    assert _wait(_outage(cache), clock) == 1


@pytest.mark.parametrize(
    ("age", "ahead"), [(0, True), (3599, True), (3600, False)], ids=["fresh", "alive", "dead"]
)
def test_a_failure_knows_whether_a_token_lived(
    cache: TokenCache, clock: ManualClock, age: float, ahead: bool
) -> None:
    """A failure is ahead of need exactly while a token lives."""
    assert not _outage(cache).ahead_of_need
    issue(cache, make_cached())
    clock.advance(age)

    assert _outage(cache).ahead_of_need is ahead


@pytest.mark.report(76)
@pytest.mark.parametrize(("recheck", "wait"), [(False, 60), (True, 1)])
def test_refused_credentials(
    cache: TokenCache, clock: ManualClock, recheck: bool, wait: float
) -> None:
    """Refused credentials rest for a minute; a callable is asked again after 1 s (report 76)."""
    failure = cache.record_failure(NO, endpoint="/c", rejected=PAIR, recheck=recheck)

    assert _wait(failure, clock) == wait
    assert failure.retry_at == clock.wall() + 60
    assert failure.rejected_until == clock.monotonic() + 60
    assert failure.endpoint == "/c"


@pytest.mark.parametrize(
    ("recheck", "rejected", "wait"),
    [(False, None, 60), (True, None, 60), (False, PAIR, 60), (True, PAIR, 1)],
)
def test_the_failure_of_another_client(
    *,
    cache: TokenCache,
    clock: ManualClock,
    recheck: bool,
    rejected: Credentials | None,
    wait: float,
) -> None:
    """What another client was told is served as long as it lasts; only a refusal is rechecked sooner."""
    failure = cache.adopt_failure(make_failure(), rejected=rejected, recheck=recheck)

    assert _wait(failure, clock) == wait
    assert failure.rejected_until == clock.monotonic() + 60


def test_rejection_of(cache: TokenCache, clock: ManualClock) -> None:
    """The same credentials stay refused for a minute, rotated ones are not."""
    assert cache.rejection_of(PAIR) is None
    failure = cache.record_failure(NO, endpoint="/c", rejected=PAIR, recheck=True)

    assert cache.rejection_of(Credentials("app", "s3cret")) is failure
    assert cache.rejection_of(Credentials("app", "rotated")) is None
    clock.advance(59.9)
    assert cache.rejection_of(PAIR) is failure
    clock.advance(0.1)
    assert cache.rejection_of(PAIR) is None


def test_a_rejection_is_extended(cache: TokenCache, clock: ManualClock) -> None:
    """A refusal is served for another second if the credentials have not changed."""
    failure = cache.record_failure(NO, endpoint="/c", rejected=PAIR, recheck=True)
    clock.advance(5)
    assert cache.active_failure() is None
    longer = cache.extend_rejection(failure)

    assert cache.active_failure() is longer
    assert _wait(longer, clock) == 1
    assert longer.retry_at == failure.retry_at
    assert cache.state.failures == 1
    clock.advance(54.5)
    assert _wait(cache.extend_rejection(failure), clock) == 0.5


def test_a_refusal_without_credentials(cache: TokenCache, clock: ManualClock) -> None:
    """A refusal without known credentials ends with its own wait."""
    failure = cache.record_failure(NO, endpoint="/c", rejected=None, recheck=True)

    assert _wait(failure, clock) == 1
    assert failure.rejected_until == failure.until
