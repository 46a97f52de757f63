from __future__ import annotations

import pytest

from taxizer_async import Credentials, Event, ExchangeFailed, RenewalPolicy
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.exchange import Malformed, Misconfigured, Refused, Unavailable
from taxizer_async._token.cache import TokenCache
from taxizer_async._token.failure_memory import FailureMemory
from taxizer_async._token.failures import CredentialsUnavailable, LeaseNeverFree
from taxizer_async._token.renewal_request import Endpoints, Progress
from taxizer_async._token.shared_failures import is_answer, pair_name, to_cause
from taxizer_async.testing import ManualClock
from tests.support.tokens import make_failure


BASE_URL = "https://apistaging.taxizer.com"
CONNECT = f"{BASE_URL}/v1/Auth/Connect"
PAIR = Credentials("app", "secret")

ANSWERS = [
    Refused(status_code=401),
    Unavailable(reason="answered 503 Service Unavailable", status_code=503),
    Unavailable(reason="answered 429 Too Many Requests", status_code=429),
    Unavailable(reason="answered 408 Request Timeout", status_code=408),
    Malformed(status_code=200, excerpt="a JSON object without jwtToken", is_the_apis=True),
]


@pytest.fixture(name="memory")
def _memory() -> FailureMemory:
    clock, policy = ManualClock(), RenewalPolicy()
    return FailureMemory(
        endpoints=Endpoints(base_url=BASE_URL, connect=CONNECT, refresh=f"{BASE_URL}/refresh"),
        cache=TokenCache(policy=policy, clock=clock, random=lambda: 0.5, client_id="app"),
        policy=policy,
        clock=clock,
        event_log=EventLog(None, timeout=1.0),
        recheck=True,
    )


@pytest.mark.parametrize("cause", ANSWERS, ids=repr)
def test_an_answer_is_shared_as_it_is(
    cause: Refused | Unavailable | Malformed, memory: FailureMemory
) -> None:
    """What an endpoint answered becomes a record and back."""
    memory.fail(cause, kind="connect")
    record = memory.record(memory.fail(cause, kind="connect"))

    assert record is not None
    assert is_answer(cause)
    assert to_cause(record) == cause
    assert (record.endpoint, record.pair, record.failures) == (CONNECT, None, 2)
    assert record.remaining == pytest.approx(1.0 if isinstance(cause, Refused) else 2.0)


def test_a_failure_tells_how_long_it_took(memory: FailureMemory) -> None:
    """The event counts from the first attempt at Connect; what asked no endpoint took no time."""
    heard: list[Event] = []
    memory.event_log.add_listener(heard.append)
    outage, now = Unavailable(reason="answered 503", status_code=503), memory.clock.monotonic()
    memory.fail(Misconfigured(reason="x"))
    memory.adopt(make_failure())
    memory.fail_to_connect(Progress(), outage)
    memory.fail_to_connect(Progress(began=now - 2), outage)

    assert [each.elapsed for each in heard if isinstance(each, ExchangeFailed)] == [0, 0, 0, 2]


def test_a_refusal_is_remembered_for_longer_than_it_is_served(memory: FailureMemory) -> None:
    """Others are spared the try for as long as the pair is taken for wrong."""
    record = memory.record(memory.fail(Refused(status_code=400), rejected=PAIR, kind="connect"))

    assert record is not None
    assert record.remaining == pytest.approx(60.0)
    assert record.pair == pair_name(PAIR, BASE_URL)


@pytest.mark.parametrize(
    "cause",
    [
        Unavailable(reason="no answer within 10 s"),
        Unavailable(reason="ConnectError", not_processed=True),
        Unavailable(reason="answered 401 Unauthorized, but the body was cut off", status_code=401),
        Malformed(status_code=200, excerpt="an HTML page of 7 bytes"),
        Misconfigured(reason="http_client returned NoneType"),
        CredentialsUnavailable("raised OSError"),
        LeaseNeverFree(30.0),
    ],
    ids=repr,
)
def test_the_rest_is_not_shared(
    cause: Unavailable | Malformed | Misconfigured | CredentialsUnavailable | LeaseNeverFree,
    memory: FailureMemory,
) -> None:
    """What only this machine may have seen is no answer."""
    assert not is_answer(cause)
    assert memory.record(memory.fail(cause)) is None


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
