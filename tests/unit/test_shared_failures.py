from __future__ import annotations

import pytest

from taxizer_async import Credentials
from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._token.failures import CredentialsUnavailable, Failure, LeaseNeverFree
from taxizer_async._token.shared_failures import is_answer, pair_name, to_cause, to_record


BASE_URL = "https://apistaging.taxizer.com"
PAIR = Credentials("app", "secret")

ANSWERS = [
    Refused(status_code=401),
    Unavailable(reason="answered 503 Service Unavailable", status_code=503),
    Unavailable(reason="answered 429 Too Many Requests", status_code=429),
    Unavailable(reason="answered 408 Request Timeout", status_code=408),
    Malformed(status_code=200, excerpt="a JSON object without jwtToken", is_the_apis=True),
]


@pytest.mark.parametrize("cause", ANSWERS, ids=repr)
def test_an_answer_is_shared_as_it_is(
    cause: Refused | Unavailable | Malformed,
) -> None:
    """What an endpoint answered becomes a record and back."""
    failure = Failure(
        cause=cause,
        endpoint=f"{BASE_URL}/v1/Auth/Connect",
        until=105.0,
        retry_at=0.0,
        rejected=None,
        rejected_until=105.0,
        ahead_of_need=True,
    )
    record = to_record(failure, cause, base_url=BASE_URL, failures=2, now=101.0)

    assert is_answer(cause)
    assert to_cause(record) == cause
    assert (record.endpoint, record.pair) == (failure.endpoint, None)
    assert (record.failures, record.ahead_of_need, record.remaining) == (2, True, 4.0)


def test_a_refusal_is_remembered_for_longer_than_it_is_served() -> None:
    """Others are spared the try for as long as the pair is taken for wrong."""
    cause = Refused(status_code=400)
    failure = Failure(
        cause=cause,
        endpoint=f"{BASE_URL}/v1/Auth/Connect",
        until=101.0,
        retry_at=0.0,
        rejected=PAIR,
        rejected_until=160.0,
        ahead_of_need=False,
    )
    record = to_record(failure, cause, base_url=BASE_URL, failures=1, now=100.0)

    assert record.remaining == 60.0
    assert record.pair == pair_name(PAIR, BASE_URL)


@pytest.mark.parametrize(
    "cause",
    [
        Unavailable(reason="no answer within 10 s"),
        Unavailable(reason="ConnectError", not_processed=True),
        Unavailable(reason="answered 401 Unauthorized, cut off", status_code=401),
        Malformed(status_code=200, excerpt="an HTML page of 7 bytes"),
        Misconfigured(reason="http_client returned NoneType"),
        CredentialsUnavailable("raised OSError"),
        LeaseNeverFree(30.0),
    ],
    ids=repr,
)
def test_the_rest_is_not_shared(
    cause: Unavailable | Malformed | Misconfigured | CredentialsUnavailable | LeaseNeverFree,
) -> None:
    """What only this machine may have seen is no answer."""
    assert not is_answer(cause)


def test_a_pair_has_one_name() -> None:
    """Any other secret, account or API gives another name, which shows nothing of them."""
    pairs = [PAIR, Credentials("app", "Secret"), Credentials("app2", "secret")]
    names = [pair_name(pair, BASE_URL) for pair in pairs]
    names.append(pair_name(PAIR, "https://api.taxizer.com"))

    assert len(set(names)) == len(names)
    assert pair_name(Credentials("app", "secret"), BASE_URL) == names[0]
    assert all(len(name) == 64 and "secret" not in name for name in names)


def test_a_damaged_secret_has_a_name() -> None:
    """A lone surrogate, as from a variable that is not UTF-8, raises nothing that quotes it."""
    assert len(pair_name(Credentials("app\udcff", "s3cret\udcff"), BASE_URL)) == 64
