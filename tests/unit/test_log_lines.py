"""The log line of each event: its words, its level, its extra fields, and what it costs when it is off."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, final, get_args

import attrs
import pytest

from taxizer_async._core import events, log_lines
from taxizer_async._core.event_log import EventLog
from taxizer_async._core.events import Event
from taxizer_async._core.log_lines import HANDED_BACK, LINES, LOGIN_FAILED, line_of, sentence
from tests.support.limits import HANG


NOON = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
CONNECT = "https://apistaging.taxizer.com/v1/Auth/Connect"
REFRESH = "https://apistaging.taxizer.com/v1/Auth/AppRefreshToken"

#: Each event, and what an operator reads.
SAID: list[tuple[Event, str, str]] = [
    (
        events.LoggedIn(
            at=NOON, elapsed=0.312, expires_at=NOON + timedelta(minutes=30), endpoint=CONNECT
        ),
        "INFO",
        f"logged in at {CONNECT} in 0.31 s; the token lives until 12:30:00Z",
    ),
    (
        events.Renewed(
            at=NOON, elapsed=0.0421, expires_at=NOON + timedelta(days=1), endpoint=REFRESH
        ),
        "INFO",
        f"renewed at {REFRESH} in 0.042 s; the token lives until 2027-01-16T12:00:00Z",
    ),
    (
        events.Adopted(expires_at=NOON),
        "DEBUG",
        "adopted a token from the store; it lives until 2027-01-15T12:00:00Z",
    ),
    (
        events.RefreshRefused(
            at=NOON,
            reason="AppRefreshToken refused the refresh token (400)",
            status_code=400,
            elapsed=0.2,
            error="TokenResponseError",
        ),
        "WARNING",
        "renewal failed, so a login follows: AppRefreshToken refused the refresh token (400)",
    ),
    (
        events.ExchangeFailed(
            at=NOON,
            reason=f"{REFRESH} answered 503 Service Unavailable",
            status_code=503,
            retry_at=NOON + timedelta(seconds=5),
            ahead_of_need=True,
            kind="refresh",
            elapsed=0.1,
            error="TokenEndpointUnavailableError",
            expires_in=239.7,
        ),
        "WARNING",
        (
            f"renewal failed: {REFRESH} answered 503 Service Unavailable; "
            "the token is good for 240 s, next try at 12:00:05Z"
        ),
    ),
    (
        events.ExchangeFailed(
            at=NOON,
            reason=f"no token from {CONNECT}: no answer within 10 s",
            status_code=None,
            retry_at=NOON + timedelta(seconds=1),
            ahead_of_need=False,
            kind="connect",
            elapsed=30.0,
            error="TokenEndpointUnavailableError",
        ),
        "ERROR",
        (
            f"login failed: no token from {CONNECT}: no answer within 10 s; "
            "there is no usable token, next try at 12:00:01Z"
        ),
    ),
    (
        events.TokenAwaited(callers=3, waits=(0.1, 2.75, 0.3)),
        "DEBUG",
        "callers waited for a token: 3, for 2.8 s at most",
    ),
    (
        events.LeaseAwaited(at=NOON, elapsed=12.3, outcome="served"),
        "DEBUG",
        "waited for the lease for 12 s: another client brought a token or a failure",
    ),
    (
        events.LeaseAwaited(at=NOON, elapsed=0.0, outcome="acquired"),
        "DEBUG",
        "waited for the lease for 0.000 s: it became free",
    ),
    (
        events.LeaseAwaited(at=NOON, elapsed=30.0, outcome="gave_up"),
        "DEBUG",
        "waited for the lease for 30 s: it never became free",
    ),
    (
        events.TokenRefused(renewing=True),
        "INFO",
        "token refused with a 401, so it is being renewed",
    ),
    (
        events.TokenRefused(renewing=False),
        "WARNING",
        "token refused with a 401 that is handed back, and no renewal follows",
    ),
    (events.Forgotten(), "INFO", "token forgotten, as forget() was called"),
    (
        events.StoreFailed(operation="load", reason="ConnectionError"),
        "WARNING",
        "token store failed in load: ConnectionError; this process goes on from memory",
    ),
    (events.StoreRecovered(), "INFO", "token store works again"),
    (
        events.OriginSkipped(origin="https://example.com:443"),
        "WARNING",
        (
            "no token sent to https://example.com:443: "
            "add it to extra_origins if it belongs to Taxizer"
        ),
    ),
]


@final
class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the standard library alone."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; nothing but a JSON value may be in it."""
        extra = {k: v for k, v in vars(record).items() if k.startswith("taxizer_")}
        return json.dumps({"level": record.levelname, "message": record.getMessage(), **extra})


@pytest.fixture(name="written")
def _written() -> Iterator[io.StringIO]:
    """Return what a handler with that formatter writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log_lines.LOG.addHandler(handler)
    yield stream
    log_lines.LOG.removeHandler(handler)


def emit(event: Event) -> None:
    EventLog(None, timeout=HANG).emit(event)


@pytest.mark.parametrize(("event", "level", "line"), SAID)
def test_each_event_is_a_sentence(
    event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each event is logged at once, as one sentence, at its level."""
    caplog.set_level(logging.DEBUG, "taxizer_async")
    emit(event)

    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("taxizer_async", level, line)
    assert record.getMessage().startswith(line_of(event).beginning)
    assert record.exc_info is None
    assert sentence(event) == line


def test_every_event_has_a_line() -> None:
    """Every event has a line of its own, and each line is shown above."""
    shown = {line_of(event) for event, _, _ in SAID}

    assert set(LINES) == set(get_args(events.Event))
    assert shown == {*LINES.values(), LOGIN_FAILED, HANDED_BACK}


def test_no_beginning_finds_another_line() -> None:
    """What to search for finds the lines of one event, and one kind of it."""
    beginnings = [line.beginning for line in (*LINES.values(), LOGIN_FAILED, HANDED_BACK)]

    assert all(len(beginning) > 10 for beginning in beginnings)
    for beginning in beginnings:
        assert [each for each in beginnings if each.startswith(beginning)] == [beginning]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            events.LoggedIn(elapsed=1.0, expires_at=None),
            (
                "logged in at the API in 1.0 s; "
                "the token lives until a time that the server did not name"
            ),
        ),
        (
            events.ExchangeFailed(
                at=NOON, reason="x", status_code=None, retry_at=NOON, ahead_of_need=True
            ),
            "renewal failed: x; the token is good for an unknown time, next try at 12:00:00Z",
        ),
    ],
    ids=["expiry", "remaining"],
)
def test_what_is_unknown_is_said_in_words(event: Event, line: str) -> None:
    """A field that is None reads as a phrase, and not as None."""
    assert sentence(event) == line


def test_a_reason_of_several_lines_is_one_line() -> None:
    """A store's own words can't begin a new line of the log."""
    event = events.StoreFailed(operation="load", reason="no\r\nlogged in at https://evil\x0b!")

    assert len(sentence(event).splitlines()) == 1


@pytest.mark.parametrize(("event", "level", "line"), SAID)
def test_extra_fields_are_json(event: Event, level: str, line: str, written: io.StringIO) -> None:
    """A formatter of the standard library writes each event with all its fields, as plain JSON values."""
    log_lines.LOG.setLevel(logging.DEBUG)
    try:
        emit(event)
    finally:
        log_lines.LOG.setLevel(logging.NOTSET)

    said = json.loads(written.getvalue())
    assert (said.pop("level"), said.pop("message")) == (level, line)
    assert said.pop("taxizer_event") == type(event).__name__
    assert set(said) == {f"taxizer_{field.name}" for field in attrs.fields(type(event))}


def test_extra_values(caplog: pytest.LogCaptureFixture) -> None:
    """Times are texts in UTC, durations are seconds with three digits, and None stays None."""
    with caplog.at_level(logging.DEBUG, "taxizer_async"):
        for event, _, _ in SAID:
            emit(event)
    extras: dict[str, Any] = {}
    for record in caplog.records:
        extras |= {f"{vars(record)['taxizer_event']}.{k}": v for k, v in vars(record).items()}

    assert extras["LoggedIn.taxizer_at"] == "2027-01-15T12:00:00.000Z"
    assert extras["LoggedIn.taxizer_elapsed"] == 0.312
    assert extras["LoggedIn.taxizer_endpoint"] == CONNECT
    assert extras["ExchangeFailed.taxizer_status_code"] is None
    assert extras["ExchangeFailed.taxizer_retry_at"] == "2027-01-15T12:00:01.000Z"
    assert extras["TokenAwaited.taxizer_waits"] == [0.1, 2.75, 0.3]
    assert extras["TokenRefused.taxizer_renewing"] is False


def test_a_line_that_is_off_costs_no_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is put into words for a level that is off."""
    caplog.set_level(logging.CRITICAL, "taxizer_async")
    monkeypatch.setattr(log_lines, "_fields", lambda _: pytest.fail("rendered"))
    for event, _, _ in SAID:
        emit(event)


def test_without_logging_nothing_is_printed() -> None:
    """In a program that has set up no logging, neither a warning nor an error goes to stderr."""
    code = (
        "from taxizer_async import OriginSkipped, StoreFailed\n"
        "from taxizer_async._core.event_log import EventLog\n"
        "log = EventLog(None, timeout=1)\n"
        "log.emit(OriginSkipped(origin='https://example.com'))\n"
        "log.emit(StoreFailed(operation='load', reason='OSError'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert (done.stdout, done.stderr) == ("", "")
